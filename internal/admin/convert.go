package admin

import (
	"time"

	"github.com/latchkey/latchkey/internal/authority"
)

// UserOf returns an account as operators see it.
func UserOf(account authority.Account) User {
	return User{
		Name: account.Name, Disabled: account.Disabled,
		Failures: account.Strikes.Failures, LockedAt: account.Strikes.LockedAt, LockedByOperator: account.Strikes.Manual,
		PasswordChangedAt: account.PasswordChangedAt, CreatedAt: account.CreatedAt,
		Allow: account.AllowRules(),
	}
}

// APIClientOf returns an API client as operators see it.
func APIClientOf(client authority.Client) APIClient {
	return APIClient{
		Key: client.Key, Label: client.Label, Revoked: client.Revoked,
		CreatedAt: client.CreatedAt, TokenIssuedAt: client.TokenIssuedAt,
	}
}

// sessionOf returns a session, which expires at idle unless it is used, as operators see it.
func sessionOf(session authority.Session, idle time.Time) Session {
	return Session{
		ID: session.Key.ID(), User: session.User, Client: session.Client, Address: session.Address,
		CreatedAt: session.CreatedAt, LastUsedAt: session.LastUsedAt, IdleAfter: idle, ExpiresAt: session.ExpiresAt,
		EndedAt: session.End.At, EndReason: string(session.End.Reason), EndedBy: session.End.By,
	}
}

// EventOf returns an event of the audit trail as operators see it.
func EventOf(event authority.Event) Event {
	return Event{
		Seq: event.Seq, At: event.At, Kind: string(event.Kind), User: event.User, Session: event.SessionID,
		Client: event.Client, Address: event.Address, RequestID: event.RequestID,
		Method: event.Method, Host: event.Host, Path: event.Path, Status: event.Status,
		DurationMS: float64(event.Duration.Microseconds()) / 1000, UpstreamRequestID: event.UpstreamID,
		Count: event.Count, Detail: event.Detail,
	}
}

func proofOf(proof authority.AuditProof) Proof {
	return Proof{
		Events: proof.Events, First: proof.First, Last: proof.Last, Head: proof.Head.String(),
		Broken: proof.Broken, Problem: proof.Problem, Unproven: proof.Unproven, HeadTrimmed: proof.MarkTrimmed,
	}
}
