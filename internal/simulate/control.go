package simulate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/latchkey/latchkey/internal/admin"
	"github.com/latchkey/latchkey/internal/authority"
	"github.com/latchkey/latchkey/internal/wire"
)

// maxEvents is the largest number of events in one response.
const maxEvents = 1000

// action handles a request to a control and returns the body of the response; nil for none.
type action func(ctx context.Context, r *http.Request) (any, error)

// actions lists every control: its path, its method, and what it does.
func (s *Service) actions() map[string]map[string]action {
	return map[string]map[string]action{
		wire.PathSimulateClock: {http.MethodGet: s.showClock, http.MethodPost: s.moveClock, http.MethodPut: s.stand},
		wire.PathSimulateFaults: {http.MethodGet: s.showFaults, http.MethodPost: s.addFault,
			http.MethodDelete: s.clearFaults},
		wire.PathSimulateSwitches: {http.MethodGet: s.showSwitches, http.MethodPut: s.putSwitches},
		wire.PathSimulateEvents:   {http.MethodGet: s.showEvents},
		wire.PathSimulateLock:     {http.MethodPost: s.lock},
		wire.PathSimulateUnlock:   {http.MethodPost: s.unlock},
		wire.PathSimulateExpire:   {http.MethodPost: s.expire},
		wire.PathSimulateRevoke:   {http.MethodPost: s.revoke},
		wire.PathSimulateReset:    {http.MethodPost: s.reset},
		wire.PathSimulateUsers:    {http.MethodGet: s.showUsers, http.MethodPost: s.addUser, http.MethodDelete: s.removeUser},
		wire.PathSimulatePassword: {http.MethodPut: s.setPassword},
		wire.PathSimulateStrikes:  {http.MethodPut: s.setStrikes},
		wire.PathSimulateClients: {http.MethodGet: s.showClients, http.MethodPost: s.addClient,
			http.MethodDelete: s.removeClient},
	}
}

// Controls lists the paths of the controls with the methods that each takes.
func (s *Service) Controls() map[string][]string {
	paths := map[string][]string{}
	for path, methods := range s.actions() {
		paths[path] = slices.Sorted(maps.Keys(methods))
	}
	return paths
}

// controls is the handler of everything below wire.PathSimulate.
func (s *Service) controls() http.Handler {
	mux := http.NewServeMux()
	for path, methods := range s.actions() {
		allowed := slices.Sorted(maps.Keys(methods))
		for method, act := range methods {
			mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
				body, err := act(r.Context(), r)
				switch {
				case err != nil:
					refuse(w, err)
				case body == nil:
					w.WriteHeader(http.StatusNoContent)
				default:
					writeJSON(w, http.StatusOK, body)
				}
			})
		}
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Allow"] = allowed
			writeRefusal(w, http.StatusMethodNotAllowed, admin.CodeInvalid, "the control takes "+strings.Join(allowed, ", "))
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeRefusal(w, http.StatusNotFound, admin.CodeNotFound, "there is no such control")
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, wire.MaxRequestBodyBytes))
		if err != nil {
			writeRefusal(w, http.StatusBadRequest, admin.CodeInvalid,
				"the body is too long, or did not arrive; nothing was done")
			return
		}
		if status, problem := foreign(r, len(body) > 0); status != 0 {
			writeRefusal(w, status, admin.CodeInvalid, problem+"; nothing was done")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		mux.ServeHTTP(w, r)
	})
}

// withControls serves the controls beside the API. No fault meets them.
func (s *Service) withControls() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, wire.PathSimulate) {
			s.control.ServeHTTP(w, r)
			return
		}
		s.ServeHTTP(w, r)
	})
}

// badRequest is an error that is the caller's own.
type badRequest struct{ error }

func bad(err error) error { return badRequest{err} }

func refuse(w http.ResponseWriter, err error) {
	var own badRequest
	var invalid *authority.InvalidError
	switch {
	case errors.As(err, &own), errors.As(err, &invalid):
		writeRefusal(w, http.StatusBadRequest, admin.CodeInvalid, err.Error())
	case errors.Is(err, authority.ErrNotFound):
		writeRefusal(w, http.StatusNotFound, admin.CodeNotFound, "there is none of that name")
	case errors.Is(err, authority.ErrExists):
		writeRefusal(w, http.StatusConflict, admin.CodeExists, "there is one of that name already")
	default:
		writeRefusal(w, http.StatusServiceUnavailable, admin.CodeUnavailable, err.Error())
	}
}

func writeRefusal(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, admin.ErrorBody{Error: admin.Error{Code: code, Message: message}})
}

// decode reads the body of a request to a control.
func decode[Body any](r *http.Request) (body Body, err error) {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		return body, bad(fmt.Errorf("the body is not what this control takes: %w", err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return body, bad(errors.New("the body goes on after its end"))
	}
	return body, nil
}

// duration reads a duration; an empty one is zero.
func duration(field, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, bad(fmt.Errorf("%s %q is no duration; write it like 90s, 20m or 1h30m", field, text))
	}
	return d, nil
}

func (s *Service) showClock(context.Context, *http.Request) (any, error) {
	return wire.SimulateClock{Now: s.Now().UTC(), Standing: s.clock.standing()}, nil
}

func (s *Service) stand(ctx context.Context, r *http.Request) (any, error) {
	body, err := decode[wire.SimulateStanding](r)
	if err != nil {
		return nil, err
	}
	s.clock.stand(body.Standing)
	return s.showClock(ctx, r)
}

func (s *Service) moveClock(ctx context.Context, r *http.Request) (any, error) {
	body, err := decode[wire.SimulateAdvance](r)
	if err != nil {
		return nil, err
	}
	d, err := duration("advance", body.Advance)
	if err != nil {
		return nil, err
	}
	if err := s.clock.advance(d); err != nil {
		return nil, bad(err)
	}
	if err := s.sweep(ctx); err != nil {
		return nil, err
	}
	return s.showClock(ctx, r)
}

func (s *Service) showFaults(context.Context, *http.Request) (any, error) {
	answer := wire.SimulateFaults{Faults: []wire.SimulateFault{}}
	for _, f := range s.Faults() {
		told := wire.SimulateFault{Fault: string(f.Kind), Operation: string(f.Operation), Times: f.Times, Status: f.Status,
			Form: f.Form}
		if f.Delay > 0 {
			told.Delay = f.Delay.String()
		}
		if f.RetryAfter > 0 {
			told.RetryAfter = f.RetryAfter.String()
		}
		answer.Faults = append(answer.Faults, told)
	}
	return answer, nil
}

func (s *Service) addFault(ctx context.Context, r *http.Request) (any, error) {
	body, err := decode[wire.SimulateFault](r)
	if err != nil {
		return nil, err
	}
	fault := Fault{Kind: Kind(body.Fault), Operation: Operation(body.Operation), Times: body.Times, Status: body.Status,
		Form: body.Form}
	if fault.Delay, err = duration("delay", body.Delay); err != nil {
		return nil, err
	}
	if fault.RetryAfter, err = duration("retryAfter", body.RetryAfter); err != nil {
		return nil, err
	}
	if err := s.Inject(fault); err != nil {
		return nil, bad(err)
	}
	return s.showFaults(ctx, r)
}

func (s *Service) clearFaults(context.Context, *http.Request) (any, error) {
	s.ClearFaults()
	return nil, nil
}

func (s *Service) showSwitches(context.Context, *http.Request) (any, error) {
	return s.Switches(), nil
}

func (s *Service) putSwitches(ctx context.Context, r *http.Request) (any, error) {
	body, err := decode[wire.SimulateSwitches](r)
	if err != nil {
		return nil, err
	}
	if err := s.SetSwitches(body); err != nil {
		return nil, err
	}
	return s.showSwitches(ctx, r)
}

func (s *Service) showEvents(ctx context.Context, r *http.Request) (any, error) {
	after, limit := int64(0), maxEvents
	var err error
	if text := r.URL.Query().Get("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, bad(errors.New("after is not a number"))
		}
	}
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxEvents {
			return nil, bad(fmt.Errorf("limit is not between 1 and %d", maxEvents))
		}
	}
	events, err := s.Events(ctx, after, limit)
	if err != nil {
		return nil, err
	}
	answer := admin.Events{Events: make([]admin.Event, len(events))}
	for i, event := range events {
		answer.Events[i] = admin.EventOf(event)
	}
	return answer, nil
}

// change decodes whom a control is about, and does it.
func change[Body any](s *Service, r *http.Request, do func(*authority.Authority, Body) error) error {
	body, err := decode[Body](r)
	if err != nil {
		return err
	}
	return s.With(func(a *authority.Authority) error { return do(a, body) })
}

func (s *Service) lock(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body admin.Name) error {
		return a.LockUser(ctx, body.Name, origin)
	})
}

func (s *Service) unlock(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body admin.Name) error {
		return a.UnlockUser(ctx, body.Name, origin)
	})
}

func (s *Service) expire(ctx context.Context, r *http.Request) (any, error) {
	var answer admin.Count
	err := change(s, r, func(a *authority.Authority, body admin.Name) (err error) {
		answer.Count, err = a.EndUserSessions(ctx, body.Name, origin)
		return err
	})
	return answer, err
}

func (s *Service) revoke(ctx context.Context, r *http.Request) (any, error) {
	return nil, change(s, r, func(a *authority.Authority, body admin.Key) error {
		return a.EndAccessToken(ctx, body.Key, origin)
	})
}

func (s *Service) reset(ctx context.Context, _ *http.Request) (any, error) {
	return nil, s.Reset(ctx)
}
