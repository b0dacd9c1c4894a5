package authority

import "context"

type userKey struct{}

// WithUser returns a copy of ctx that carries the user who sends a request.
func WithUser(ctx context.Context, user string) context.Context {
	return context.WithValue(ctx, userKey{}, user)
}

// UserFrom returns the user that WithUser put into ctx; "" if it did not.
func UserFrom(ctx context.Context) string {
	user, _ := ctx.Value(userKey{}).(string)
	return user
}
