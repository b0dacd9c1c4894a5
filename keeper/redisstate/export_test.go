package redisstate

import (
	"github.com/redis/rueidis"

	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// NewWithTTL is New with another lease than one of 15 seconds.
var NewWithTTL = newState

// NewStore is what a State of that name is in.
func NewStore(client rueidis.Client, name string) sharedstate.Store {
	return row{client: client, key: keyPrefix + name}
}
