// Package credential is where the user name and the password of an upstream
// live, and how a changed password gets there without being lost.
//
//	store, err := credential.NewFile(credential.FileConfig{Path: "/var/lib/myapp/upstream.json"})
//	if err != nil { … }
//	c, err := store.Load(ctx)
//	if errors.Is(err, credential.ErrNotFound) { … } // nobody has put one there
//
// A [Store] has two methods. Load answers the credential with its version, and
// Save replaces that version and no other, so that of two who change the
// password at once one is told ([ErrConflict]):
//
//	c.Password = changed
//	c.Version, err = store.Save(ctx, c)
//
// Saving what was loaded is allowed, makes a new version, and so proves that the
// store can be written before anything depends on it.
//
// # Stores
//
//   - [Environment] and [FlatFile] are read-only: [ErrReadOnly].
//   - [File] is a file of mode 0600, encrypted with age if wanted.
//   - Package credential/keyring is the keyring of the operating system.
//   - Package credential/vault is HashiCorp Vault or OpenBao.
//   - Package credential/awssecrets is AWS Secrets Manager.
//
// Whoever writes another proves it with package credential/credentialtest.
//
// Errors name the place and say what to do, and never show a password.
package credential
