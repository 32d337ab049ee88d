package function

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"ephemera/cmd/internal/store"
)

// leaseName is the object whose writer alone may write reports.
const leaseName = "lease.json"

// longestLease is how long a lease lasts when the invocation has no deadline:
// the longest that a function of Lambda may run.
const longestLease = 15 * time.Minute

// lease is the content of the object: who writes, and until when at most. The
// writer stops before.
type lease struct {
	Owner string    `json:"owner"`
	Until time.Time `json:"until"`
}

// holds reports whether somebody may be writing at a time. None is given for
// twice as long as the longest; one that says so is broken.
func (l lease) holds(now time.Time) bool {
	return now.Before(l.Until) && l.Until.Before(now.Add(2*longestLease))
}

// errLeased is why a report was not made.
var errLeased = errors.New("another invocation is writing the report")

// takeLease makes this invocation the one that writes, until the time given. It
// returns a function that ends the lease. Where somebody else has it, the error
// is errLeased; a lease that is over is taken from whoever left it.
func takeLease(ctx context.Context, s store.Store, owner string, now, until time.Time) (end func(context.Context) error, err error) {
	body, version, err := s.Get(ctx, leaseName)
	c := store.Condition{Absent: true}
	switch {
	case err == nil:
		var l lease
		if json.Unmarshal(body, &l) == nil && l.holds(now) {
			return nil, errLeased
		}
		c = store.Condition{Is: version}
	case !errors.Is(err, store.ErrNone):
		return nil, err
	}
	version, err = putJSON(ctx, s, leaseName, lease{owner, until.UTC()}, c)
	if errors.Is(err, store.ErrCondition) {
		return nil, errLeased
	}
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := putJSON(ctx, s, leaseName, lease{Owner: owner}, store.Condition{Is: version})
		return err
	}, nil
}

// putJSON writes an object under a condition. That its answer was lost, and the
// request that was sent again found what the first had written, is no
// store.ErrCondition: the content says who wrote it.
func putJSON(ctx context.Context, s store.Store, name string, v any, c store.Condition) (store.Version, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", err
	}
	b = append(b, '\n')
	version, err := s.Put(ctx, name, bytes.NewReader(b), c)
	if errors.Is(err, store.ErrCondition) {
		if there, is, getErr := s.Get(ctx, name); getErr == nil && bytes.Equal(there, b) {
			return is, nil
		}
	}
	return version, err
}
