package function

import (
	"bytes"
	"context"
	"errors"

	"ephemera/cmd/internal/store"
)

// marks keeps what was alerted beside the reports. It implements alert.Marks.
type marks struct{ store store.Store }

func (m marks) name(id string) string { return "alerts/" + id + ".json" }

// Write implements alert.Marks.
func (m marks) Write(ctx context.Context, id string, body []byte, version string) (string, error) {
	c := store.Condition{Absent: version == "", Is: store.Version(version)}
	written, err := m.store.Put(ctx, m.name(id), bytes.NewReader(body), c)
	if errors.Is(err, store.ErrCondition) || errors.Is(err, store.ErrNone) {
		return "", nil
	}
	return string(written), err
}

// Read implements alert.Marks.
func (m marks) Read(ctx context.Context, id string) ([]byte, string, error) {
	body, version, err := m.store.Get(ctx, m.name(id))
	if errors.Is(err, store.ErrNone) {
		return nil, "", nil
	}
	return body, string(version), err
}
