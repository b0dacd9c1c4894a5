// Package awssecrets keeps the credential of an upstream in AWS Secrets Manager.
//
//	config, err := config.LoadDefaultConfig(ctx)
//	if err != nil { … }
//	store, err := awssecrets.New(secretsmanager.NewFromConfig(config), "thingspace/zbeeblebrox")
//
// Save adds the new credential with the label AWSPENDING, and then moves the label
// AWSCURRENT to it from the version that was loaded and from no other. This makes Save a
// compare-and-swap. The program needs the permissions secretsmanager:GetSecretValue,
// PutSecretValue and UpdateSecretVersionStage, and CreateSecret to create the secret. Do
// not enable AWS's own rotation of the same secret, because it uses the same labels.
package awssecrets

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/internal/document"
)

const (
	labelCurrent = "AWSCURRENT"
	labelPending = "AWSPENDING"
	// limit is the maximum time of a Load or a Save, including the retries of the SDK.
	limit = 25 * time.Second
)

// Store is a credential.Store in one secret, with the same JSON as a credential.File. Its
// versions are the version IDs of the secret. Fields other than username and password are
// kept.
type Store struct {
	client *secretsmanager.Client
	id     string
}

var _ credential.Store = (*Store)(nil)

// New returns the Store in the secret with this name or ARN. It sends nothing.
func New(client *secretsmanager.Client, secretID string) (*Store, error) {
	if client == nil || secretID == "" {
		return nil, errors.New("credential: AWS: the client or the name of the secret is missing")
	}
	return &Store{client, secretID}, nil
}

// Load implements credential.Store.
func (s *Store) Load(ctx context.Context) (credential.Credential, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	kept, version, err := s.read(ctx)
	if err != nil {
		return credential.Credential{}, err
	}
	user, password, err := kept.Get()
	if err != nil {
		return credential.Credential{}, s.failed("", err)
	}
	return credential.Credential{User: user, Password: password, Version: version}, nil
}

func (s *Store) read(ctx context.Context) (document.Document, string, error) {
	found, err := s.client.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{
		SecretId: &s.id, VersionStage: aws.String(labelCurrent),
	})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		return nil, "", fmt.Errorf("credential: AWS secret %s: %w", s.id, credential.ErrNotFound)
	case err != nil:
		return nil, "", s.failed("", err)
	}
	kept, err := document.Parse([]byte(aws.ToString(found.SecretString)))
	if err != nil {
		return nil, "", s.failed("", err)
	}
	return kept, aws.ToString(found.VersionId), nil
}

// Save implements credential.Store.
func (s *Store) Save(ctx context.Context, next credential.Credential) (string, error) {
	const unchanged = "nothing was saved: "
	if err := next.Check(); err != nil {
		return "", s.failed(unchanged, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	kept, now, err := s.read(ctx)
	if errors.Is(err, credential.ErrNotFound) {
		kept, now, err = document.Document{}, "", nil
	}
	if err != nil {
		return "", err
	}
	if now != next.Version {
		return "", fmt.Errorf("credential: AWS secret %s: %w", s.id, credential.ErrConflict)
	}
	kept.Set(next.User, next.Password)
	if now == "" {
		return s.create(ctx, kept)
	}
	version := newVersion()
	_, err = s.client.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: &s.id, ClientRequestToken: &version, SecretString: aws.String(string(kept.Encode())),
		VersionStages: []string{labelPending},
	})
	if err != nil {
		return "", s.failed("nothing was saved: ", err)
	}
	return version, s.promote(ctx, now, version)
}

// promote makes version the current one, if the current one is before.
func (s *Store) promote(ctx context.Context, before, version string) error {
	_, err := s.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &s.id, VersionStage: aws.String(labelCurrent), MoveToVersionId: &version, RemoveFromVersionId: &before,
	})
	if err != nil {
		// The SDK retries after a lost response, and then fails because the label has
		// moved already. The current version shows whether it has.
		var elsewhere *types.InvalidParameterException
		if _, now, readErr := s.read(ctx); readErr == nil && now == version {
			err = nil
		} else if errors.As(err, &elsewhere) && readErr == nil && now != before {
			err = credential.ErrConflict
		}
	}
	// A version that stays pending would make the next PutSecretValue ambiguous.
	_, _ = s.client.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: &s.id, VersionStage: aws.String(labelPending), RemoveFromVersionId: &version,
	})
	switch {
	case errors.Is(err, credential.ErrConflict):
		return fmt.Errorf("credential: AWS secret %s: %w", s.id, err)
	case err != nil:
		return s.failed("it may or may not have been saved: ", err)
	}
	return nil
}

// create creates the secret.
func (s *Store) create(ctx context.Context, kept document.Document) (string, error) {
	version := newVersion()
	_, err := s.client.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: &s.id, ClientRequestToken: &version, SecretString: aws.String(string(kept.Encode())),
		Description: aws.String("An upstream's user name and password, kept by latchkey"),
	})
	var exists *types.ResourceExistsException
	if errors.As(err, &exists) {
		if _, now, readErr := s.read(ctx); readErr != nil || now != version { // not a retry of this call
			return "", fmt.Errorf("credential: AWS secret %s: %w", s.id, credential.ErrConflict)
		}
		err = nil
	}
	if err != nil {
		return "", s.failed("it may or may not have been saved: ", err)
	}
	return version, nil
}

// newVersion returns a random UUID for the ID of a version.
func newVersion() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	text := hex.EncodeToString(b[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func (s *Store) failed(what string, err error) error {
	return fmt.Errorf("credential: AWS secret %s: %s%w", s.id, what, err)
}

// Format implements fmt.Formatter for every verb.
func (s *Store) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "awssecrets.Store("+s.id+")") }
