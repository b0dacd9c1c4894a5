package authority

import "context"

// ReserveStrike reserves a strike, like an attempt of a process that then dies.
func ReserveStrike(ctx context.Context, a *Authority, name string) error {
	_, err := a.reserve(ctx, strikeKey(name))
	return err
}

// DecoyParams returns the parameters that a password of a name costs that no user has.
func DecoyParams(ctx context.Context, a *Authority, name string) (HashParams, error) {
	decoy, err := a.decoy(ctx, strikeKey(name))
	return decoy.params, err
}

// ErrReservationLost is what an attempt gets whose reservation expired.
var ErrReservationLost = errReservationLost
