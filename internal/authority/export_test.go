package authority

import "context"

// StrikeKeyOf returns what strikes of a user name are counted under.
func StrikeKeyOf(name string) StrikeKey { return strikeKey(name) }

// DecoyParams returns the parameters that a password of a name costs that nobody has.
func DecoyParams(ctx context.Context, a *Authority, name string) (HashParams, error) {
	decoy, err := a.decoy(ctx, strikeKey(name))
	return decoy.params, err
}
