package pgstate

import (
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/latchkey/latchkey/keeper/internal/sharedstate"
)

// NewWithTTL is New with another lease than one of 15 seconds.
var NewWithTTL = newState

// NewStore is what a State of that name is in, once New has made the table.
func NewStore(pool *pgxpool.Pool, name string) sharedstate.Store { return row{pool, name} }
