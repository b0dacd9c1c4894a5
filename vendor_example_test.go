package latchkey_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/latchkey/latchkey"
)

// These are the Go counterparts of the snippets of the vendor's page "Session
// Management". docs/vendor-sdk.md shows them beside it.

func ExampleSessionManagementController() {
	service, stop := serveExample()
	defer stop()
	client := service.Client

	sessionManagement := client.SessionManagement

	fmt.Println(sessionManagement != nil)
	// Output: true
}

func ExampleSessionManagementController_StartConnectivityManagementSession() {
	service, stop := serveExample()
	defer stop()
	ctx, sessionManagement := context.Background(), service.Client.SessionManagement

	body := &latchkey.LogInRequest{
		Username: "zbeeblebrox",
		Password: "IMgr8",
	}
	result, err := sessionManagement.StartConnectivityManagementSession(ctx, body)
	if err != nil {
		log.Fatal(err)
	}
	sessionToken := result.Data.SessionToken

	fmt.Println(result.StatusCode, len(sessionToken.Reveal()))
	// Output: 200 36
}

func ExampleSessionManagementController_EndConnectivityManagementSession() {
	service, stop := serveExample()
	defer stop()
	ctx, sessionManagement := context.Background(), service.Client.SessionManagement
	sessionToken, err := service.Client.LogIn(ctx, "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}

	result, err := sessionManagement.EndConnectivityManagementSession(ctx, sessionToken)
	if err != nil {
		log.Fatal(err)
	}

	fmt.Println(result.StatusCode, result.Data.SessionToken.Equal(sessionToken))
	// Output: 200 true
}

func ExampleSessionManagementController_ResetConnectivityManagementPassword() {
	service, stop := serveExample()
	defer stop()
	ctx, sessionManagement := context.Background(), service.Client.SessionManagement
	sessionToken, err := service.Client.LogIn(ctx, "zbeeblebrox", "IMgr8")
	if err != nil {
		log.Fatal(err)
	}

	body := &latchkey.SessionResetPasswordRequest{
		OldPassword: "IMgr8",
	}
	result, err := sessionManagement.ResetConnectivityManagementPassword(ctx, sessionToken, body)
	if err != nil {
		log.Fatal(err)
	}
	newPassword := result.Data.NewPassword // store it durably before anything else

	fmt.Println(result.StatusCode, newPassword)
	// Output: 200 [redacted]
}

func ExampleConnectivityManagementResultError() {
	service, stop := serveExample()
	defer stop()
	ctx, sessionManagement := context.Background(), service.Client.SessionManagement
	body := &latchkey.LogInRequest{Username: "zbeeblebrox", Password: "wrong"}

	_, err := sessionManagement.StartConnectivityManagementSession(ctx, body)
	var refused *latchkey.ConnectivityManagementResultError
	if errors.As(err, &refused) {
		fmt.Println(refused.StatusCode, refused.ErrorCode)
	}

	// Output: 400 UnifiedWebService.REQUEST_FAILED.Login.InvalidCredentials
}
