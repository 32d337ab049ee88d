package alert

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Marks say what was alerted. They are kept by the ID of an alert, where all
// runs see them, and are never taken away by this program.
type Marks interface {
	// Write makes the mark, if version is empty and there is none, or puts
	// body in the place of that version of it. It returns the new version, or
	// an empty one if the mark was made or changed by another since. After an
	// error it may have been written or not.
	Write(ctx context.Context, id string, body []byte, version string) (written string, err error)
	// Read returns the mark and its version; both are empty if there is none.
	Read(ctx context.Context, id string) (body []byte, version string, err error)
}

// Sender sends an alert to whoever is to act on it.
type Sender interface {
	// Send sends the alert, once and without trying again. An error that is
	// ErrNotSent says that it surely was not sent; after any other error it may
	// have been.
	Send(ctx context.Context, a Alert) error
}

// ErrNotSent is in the errors of a Sender that are sure that nothing was sent.
var ErrNotSent = errors.New("surely not sent")

// Bounds of one run. What does not fit is for the next one.
const (
	maxSent     = 200              // alerts sent by one run
	maxFailures = 3                // in a row; then no other can be sent, either
	callTimeout = 10 * time.Second // of one call
	needed      = 3 * callTimeout  // that an alert may take: claimed, sent, noted
	stuckAfter  = time.Hour        // a mark that is not settled then belongs to a run that ended
)

// states of a mark.
const (
	sending = "sending" // by the writer, or by a run that ended while it did
	sent    = "sent"
	failed  = "failed"  // surely not sent; the next run tries again
	unsure  = "unknown" // may have been sent; never sent again
)

// A mark is what Marks keep of an alert: what became of it, and the alert
// itself, which is for people and not read back.
type mark struct {
	state
	Alert Alert `json:"alert"`
}

// A state is what became of an alert.
type state struct {
	State   string    `json:"state"`
	Writer  string    `json:"writer"` // of no other attempt
	Attempt int       `json:"attempt"`
	Time    time.Time `json:"time"`
	Error   string    `json:"error,omitempty"`
}

// Send sends the alerts that were not sent before, and returns how many it
// sent. It tells each cause at most once, however many runs send at a time,
// and wherever they crash:
//
//   - A mark is made before an alert is sent, on condition that there is none.
//     Of several runs one makes it; the others leave the alert alone.
//   - If it surely was not sent (no connection, a refusal), the mark says
//     failed. A later run takes the mark over, on condition that it is still
//     that version, and tries again.
//   - If it may have been sent (a time-out, an answer that was lost), the mark
//     says unknown, and the alert is not sent again.
//   - A run that crashes between making the mark and noting the outcome leaves
//     it at sending. Whether the alert was sent is not known, so it is not sent
//     again: this is the one way, with unknown, in which an alert can be lost.
//     Every later run whose report has the cause logs a warning that names it.
//   - An answer of Marks that was lost does not lose an alert: who wrote a mark
//     is written in it, and is read back.
//
// A cause that is gone and comes back is not told again. To be told again,
// take its mark away; where marks expire, by a lifecycle rule of the bucket
// for one, a cause is told of once in that time as long as it lasts.
//
// A run sends at most 200 alerts, the first ones, and stops when too little
// time is left before the context's deadline; the others are for the next
// run. The error is of all alerts that failed, or may have.
func Send(ctx context.Context, alerts []Alert, marks Marks, sender Sender, log *slog.Logger) (int, error) {
	r := run{marks: marks, sender: sender, log: log}
	for i, a := range alerts {
		if why := r.stop(ctx); why != "" {
			log.WarnContext(ctx, "alerts are left for the next run", "why", why, "left", len(alerts)-i)
			break
		}
		r.tell(ctx, a)
	}
	return r.sent, errors.Join(r.errs...)
}

// A run is one call of Send.
type run struct {
	marks  Marks
	sender Sender
	log    *slog.Logger

	sent     int
	failures int // in a row
	errs     []error
}

// stop says why the run should not take another alert; nothing if it should.
func (r *run) stop(ctx context.Context) string {
	deadline, bounded := ctx.Deadline()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx).Error()
	case bounded && time.Until(deadline) < needed:
		return "too little time is left"
	case r.sent >= maxSent:
		return fmt.Sprintf("a run sends at most %d", maxSent)
	case r.failures >= maxFailures:
		return fmt.Sprintf("%d failed in a row", r.failures)
	}
	return ""
}

// tell sends one alert, unless its mark says that it is not to be sent.
func (r *run) tell(ctx context.Context, a Alert) {
	m := &mark{state{State: sending, Writer: rand.Text(), Attempt: 1, Time: time.Now().UTC()}, a}
	version, err := r.claim(ctx, m)
	if err != nil {
		r.fail(ctx, a, fmt.Errorf("alert %s: claiming its mark: %w", a.ID, err))
		return
	}
	if version == "" {
		return
	}
	err = r.send(ctx, a)
	switch {
	case err == nil:
		m.State, r.failures = sent, 0
		r.sent++
		r.log.InfoContext(ctx, "alert sent", "id", a.ID, "kind", a.Kind, "subject", a.Subject)
	case errors.Is(err, ErrNotSent):
		m.State, m.Error = failed, err.Error()
		r.fail(ctx, a, fmt.Errorf("alert %s was not sent, the next run tries again: %w", a.ID, err))
	default:
		m.State, m.Error = unsure, err.Error()
		r.fail(ctx, a, fmt.Errorf("alert %s may have been sent or not, and is not sent again: %w", a.ID, err))
	}
	r.settle(ctx, m, version)
}

func (r *run) send(ctx context.Context, a Alert) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return r.sender.Send(ctx, a)
}

// maxErrors is how many errors a run returns; all are logged.
const maxErrors = 10

func (r *run) fail(ctx context.Context, a Alert, err error) {
	r.failures++
	r.log.ErrorContext(ctx, err.Error(), "id", a.ID, "kind", a.Kind)
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, err)
	}
}

// claim makes the mark, or takes over one that says failed. It returns the
// version that is ours; an empty one when the alert is not ours to send.
func (r *run) claim(ctx context.Context, m *mark) (version string, err error) {
	version, held, heldVersion, err := r.write(ctx, m, "")
	if err != nil || version != "" {
		return version, err
	}
	switch held.State {
	case sent, unsure:
		return "", nil
	case failed:
		m.Attempt = held.Attempt + 1
		version, _, _, err = r.write(ctx, m, heldVersion)
		return version, err
	}
	if age := time.Since(held.Time); age > stuckAfter {
		r.log.WarnContext(ctx, "an alert was being sent by a run that ended, and may have been lost: take its mark away to send it again",
			"id", m.Alert.ID, "kind", m.Alert.Kind, "subject", m.Alert.Subject, "since", held.Time)
	}
	return "", nil
}

// write writes the mark in the place of a version of it. It returns the new
// version, or an empty one and the mark that another has written. If it is not
// known whether it was written, the mark itself tells.
func (r *run) write(ctx context.Context, m *mark, version string) (written string, held state, heldVersion string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return "", state{}, "", err
	}
	written, err = r.marks.Write(ctx, m.Alert.ID, body, version)
	if err == nil && written != "" {
		return written, state{}, "", nil
	}
	there, heldVersion, readErr := r.marks.Read(ctx, m.Alert.ID)
	switch {
	case readErr != nil:
		return "", state{}, "", errors.Join(err, readErr)
	case bytes.Equal(there, body):
		return heldVersion, state{}, "", nil
	case err != nil:
		return "", state{}, "", err
	case len(there) == 0:
		return "", state{}, "", errors.New("the mark was taken away meanwhile")
	}
	if err := json.Unmarshal(there, &held); err != nil {
		return "", state{}, "", fmt.Errorf("the mark is not one of ours, take it away to send the alert: %w", err)
	}
	return "", held, heldVersion, nil
}

// settle notes the outcome, even if the context has ended meanwhile.
func (r *run) settle(ctx context.Context, m *mark, version string) {
	now, _, _, err := r.write(context.WithoutCancel(ctx), m, version)
	if err != nil || now == "" {
		r.log.WarnContext(ctx, "the outcome of an alert could not be noted: its mark says that it is being sent",
			"id", m.Alert.ID, "kind", m.Alert.Kind, "outcome", m.State, "error", err)
	}
}
