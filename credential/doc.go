// Package credential loads the user name and the password of an upstream, and saves a
// changed password without losing it.
//
//	store, err := credential.NewFile(credential.FileConfig{Path: "/var/lib/myapp/upstream.json"})
//	if err != nil { … }
//	c, err := store.Load(ctx)
//	if errors.Is(err, credential.ErrNotFound) { … } // there is no credential yet
//
// A [Source] loads the credential. A [Store] saves one as well: Save replaces the version
// that Load returned and no other, so that of two concurrent changes one fails
// ([ErrConflict]):
//
//	c.Password = changed
//	c.Version, err = store.Save(ctx, c)
//
// Saving what was loaded is allowed. It makes a new version, and so proves that the store
// can be written before anything depends on it.
//
// # Sources
//
//   - [Environment] is two environment variables.
//   - [FlatFile] is files that hold nothing but a value, as containers mount secrets.
//
// # Stores
//
//   - [File] is a file of mode 0600, optionally encrypted with age.
//   - Package credential/keyring is the keyring of the operating system.
//   - Package credential/vault is HashiCorp Vault or OpenBao.
//   - Package credential/awssecrets is AWS Secrets Manager.
//
// Package credential/credentialtest tests other implementations.
//
// Errors name the place, and never show a password. If there is something to do about an error,
// it wraps an error with a method Hint() string that returns the advice.
package credential
