package keeper

import "time"

// Hasten takes from k the pause after a strike, for tests in real time.
func (k *Keeper) Hasten() { k.strikePause = -time.Hour }
