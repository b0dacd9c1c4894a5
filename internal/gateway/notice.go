package gateway

import (
	"context"

	"github.com/latchkey/latchkey/internal/wire"
)

const (
	latchedNotice = "The gateway has stopped logging in to the upstream: " +
		"latchkey guard status shows why, latchkey guard reset permits logins again. "
	liveNotice = "Its session there is live, so requests are forwarded while it lasts.\n"
	deadNotice = "It has no session there, so requests to the upstream get 503 with the fault " + wire.FaultLatched + ".\n"
)

// Notice returns the gateway's text for the readiness probe; "" if there is nothing to
// report. A latched gateway stays ready: it forwards requests while its session lives, the
// replicas that share its state are latched as well, and the session API works.
func (g *Gateway) Notice(ctx context.Context) string {
	status, err := g.keeper.Status(ctx)
	switch {
	case err != nil:
		g.log.WarnContext(ctx, "the state of the upstream's session cannot be read", "error", err)
		return ""
	case status.Latched == nil:
		return ""
	case status.Live:
		return latchedNotice + liveNotice
	}
	return latchedNotice + deadNotice
}
