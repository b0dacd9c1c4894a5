package latchkey

import "context"

// BaseURL answers the URL that the Client's requests go to: the scheme, the
// host and the path prefix, if there is one, with a slash at its end.
func (c *Client) BaseURL() string { return c.base.String() }

// LogIn is short for [SessionManagementController.StartConnectivityManagementSession]:
// the session token alone, under the same rules and with the same errors.
func (c *Client) LogIn(ctx context.Context, user string, password Secret) (Secret, error) {
	response, err := c.SessionManagement.StartConnectivityManagementSession(ctx,
		&LogInRequest{Username: user, Password: password})
	if err != nil {
		return "", err
	}
	return response.Data.SessionToken, nil
}

// LogOut is short for [SessionManagementController.EndConnectivityManagementSession].
func (c *Client) LogOut(ctx context.Context, sessionToken Secret) error {
	_, err := c.SessionManagement.EndConnectivityManagementSession(ctx, sessionToken)
	return err
}

// ResetPassword is short for [SessionManagementController.ResetConnectivityManagementPassword]:
// the new password alone, under the same rules and with the same errors.
//
// received, unless nil, is called with the raw answer of a reset that succeeded,
// before it is even parsed: the place to make it durable. [NewPassword] reads it
// again, should the program not live to do so.
func (c *Client) ResetPassword(
	ctx context.Context, sessionToken, oldPassword Secret, received func(answer Secret),
) (Secret, error) {
	response, err := c.SessionManagement.resetPassword(ctx, sessionToken,
		&SessionResetPasswordRequest{OldPassword: oldPassword}, received)
	if err != nil {
		return "", err
	}
	return response.Data.NewPassword, nil
}
