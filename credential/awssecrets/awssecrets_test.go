package awssecrets_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/credential/awssecrets"
	"github.com/latchkey/latchkey/credential/credentialtest"
)

// fake implements the JSON API of Secrets Manager for one secret as AWS documents it.
type fake struct {
	*httptest.Server

	mu     sync.Mutex
	values map[string]string   // by version
	labels map[string]string   // the version of each label
	lose   map[string]int      // the number of responses to lose, by operation
	fail   map[string]string   // the error to respond with, by operation
	seen   []string            // operations
	before func(action string) // called before an operation, unlocked
}

func newFake(t *testing.T) *fake {
	f := &fake{values: map[string]string{}, labels: map[string]string{}, lose: map[string]int{}, fail: map[string]string{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) put(version, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.values[version], f.labels["AWSCURRENT"] = value, version
}

type request struct {
	SecretID, VersionStage, ClientRequestToken, SecretString, MoveToVersionID, RemoveFromVersionID, Name string
	VersionStages                                                                                        []string
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	action := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	if f.before != nil {
		f.before(action)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, action)
	body, _ := io.ReadAll(r.Body)
	var given request
	if json.Unmarshal(body, &given) != nil || !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		refuse(w, "InvalidRequestException")
		return
	}
	if kind := f.fail[action]; kind != "" {
		refuse(w, kind)
		return
	}
	kind, result := f.perform(action, given)
	if f.lose[action] > 0 {
		f.lose[action]--
		panic(http.ErrAbortHandler)
	}
	if kind != "" {
		refuse(w, kind)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	_ = json.NewEncoder(w).Encode(result)
}

func refuse(w http.ResponseWriter, kind string) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": "no"})
}

func (f *fake) perform(action string, given request) (kind string, result map[string]string) {
	current := f.labels["AWSCURRENT"]
	switch action {
	case "GetSecretValue":
		version := f.labels[given.VersionStage]
		if version == "" {
			return "ResourceNotFoundException", nil
		}
		return "", map[string]string{"VersionId": version, "SecretString": f.values[version]}
	case "CreateSecret":
		if current == given.ClientRequestToken {
			return "", map[string]string{"VersionId": current}
		}
		if current != "" {
			return "ResourceExistsException", nil
		}
		f.values[given.ClientRequestToken], f.labels["AWSCURRENT"] = given.SecretString, given.ClientRequestToken
		return "", map[string]string{"VersionId": given.ClientRequestToken}
	case "PutSecretValue":
		if value, ok := f.values[given.ClientRequestToken]; ok && value != given.SecretString {
			return "ResourceExistsException", nil
		}
		f.values[given.ClientRequestToken] = given.SecretString
		for _, label := range given.VersionStages {
			f.labels[label] = given.ClientRequestToken
		}
		return "", map[string]string{"VersionId": given.ClientRequestToken}
	case "UpdateSecretVersionStage":
		if f.labels[given.VersionStage] != given.RemoveFromVersionID {
			return "InvalidParameterException", nil
		}
		f.labels[given.VersionStage] = given.MoveToVersionID
		return "", map[string]string{"Name": given.SecretID}
	}
	return "InvalidRequestException", nil
}

func newStore(t *testing.T, f *fake) *awssecrets.Store {
	t.Helper()
	client := secretsmanager.New(secretsmanager.Options{
		Region: "us-east-1", BaseEndpoint: &f.URL,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
	store, err := awssecrets.New(client, "thingspace/zoe")
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestSecretsManagerConforms(t *testing.T) {
	credentialtest.RunStore(t, func(t *testing.T) credentialtest.Place[credential.Store] {
		f, versions := newFake(t), 0
		return credentialtest.Place[credential.Store]{
			Open: func() credential.Store { return newStore(t, f) },
			Put: func(user string, password latchkey.Secret) {
				content, _ := json.Marshal(map[string]string{"username": user, "password": password.Reveal()})
				versions++
				f.put("by-hand-"+string(rune('a'+versions)), string(content))
			},
		}
	})
}

func save(t *testing.T, store credential.Store, password latchkey.Secret) (credential.Credential, error) {
	t.Helper()
	c, err := store.Load(t.Context())
	if err != nil && !errors.Is(err, credential.ErrNotFound) {
		t.Fatal(err)
	}
	c.User, c.Password = "zoe", password
	c.Version, err = store.Save(t.Context(), c)
	return c, err
}

// The SDK retries after a lost response. A success must not become a conflict.
func TestALostResponseIsNoConflict(t *testing.T) {
	for _, action := range []string{"CreateSecret", "PutSecretValue", "UpdateSecretVersionStage"} {
		t.Run(action, func(t *testing.T) {
			f := newFake(t)
			store := newStore(t, f)
			if action != "CreateSecret" {
				if _, err := save(t, store, "first"); err != nil {
					t.Fatal(err)
				}
			}
			f.lose[action] = 1
			c, err := save(t, store, "second")
			if err != nil {
				t.Fatal(err)
			}
			found, err := store.Load(t.Context())
			if err != nil || !found.Password.Equal("second") || found.Version != c.Version {
				t.Errorf("Load: version %q, error %v", found.Version, err)
			}
			if f.labels["AWSPENDING"] != "" {
				t.Error("a version is still pending")
			}
		})
	}
}

// Another program moves the label between PutSecretValue and UpdateSecretVersionStage.
func TestAConflictAtThePromotionKeepsTheOtherVersion(t *testing.T) {
	f := newFake(t)
	store := newStore(t, f)
	if _, err := save(t, store, "first"); err != nil {
		t.Fatal(err)
	}
	f.before = func(action string) {
		if action == "UpdateSecretVersionStage" {
			f.before = nil
			f.put("theirs", `{"username":"zoe","password":"theirs"}`)
		}
	}
	if _, err := save(t, store, "ours"); !errors.Is(err, credential.ErrConflict) {
		t.Errorf("error %v, want a conflict", err)
	}
	found, err := store.Load(t.Context())
	if err != nil || !found.Password.Equal("theirs") || f.labels["AWSPENDING"] != "" {
		t.Errorf("error %v, pending %q", err, f.labels["AWSPENDING"])
	}
}

func TestAnErrorChangesNothingAndIsNoConflict(t *testing.T) {
	for _, action := range []string{"GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"} {
		f := newFake(t)
		store := newStore(t, f)
		first, err := save(t, store, "first")
		if err != nil {
			t.Fatal(err)
		}
		f.fail[action] = "AccessDeniedException"
		_, err = store.Save(t.Context(), credential.Credential{User: "zoe", Password: "second", Version: first.Version})
		if err == nil || errors.Is(err, credential.ErrConflict) || errors.Is(err, credential.ErrNotFound) ||
			strings.Contains(err.Error(), "second") {
			t.Errorf("%s: error %v", action, err)
		}
		delete(f.fail, action)
		if found, err := store.Load(t.Context()); err != nil || !found.Password.Equal("first") {
			t.Errorf("%s: Load: %v", action, err)
		}
	}
}

func TestOtherFieldsAreKept(t *testing.T) {
	f := newFake(t)
	f.put("v1", `{"username":"zoe","password":"old","engine":"thingspace"}`)
	c, err := save(t, newStore(t, f), "new")
	if err != nil || !strings.Contains(f.values[c.Version], `"engine":"thingspace"`) {
		t.Errorf("error %v, value %s", err, f.values[c.Version])
	}
	if !slices.Contains(f.seen, "PutSecretValue") {
		t.Error("there was no PutSecretValue")
	}
}

func TestNewRejectsInvalidArguments(t *testing.T) {
	if _, err := awssecrets.New(nil, "x"); err == nil {
		t.Error("no client was accepted")
	}
	if _, err := awssecrets.New(secretsmanager.New(secretsmanager.Options{}), ""); err == nil {
		t.Error("no name was accepted")
	}
}
