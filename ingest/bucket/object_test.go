package bucket

import (
	"errors"
	"io"
	"testing"

	"ephemera/ingest/flow"
)

func TestObjectAlone(t *testing.T) {
	const key = "AWSLogs/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz"
	f := newFake(key)
	f.put(key, []byte("the content"))
	store := New(f, Options{})
	o, err := store.Object(t.Context(), "b", key)
	if err != nil {
		t.Fatal(err)
	}
	if o.Place != "s3://b/"+key || o.Size != 11 || `"`+o.Version+`"` != etagOf([]byte("the content")) || o.Start != 1795341600 {
		t.Errorf("got %+v", o)
	}
	r, err := o.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "the content" {
		t.Errorf("got %q, %v", b, err)
	}
	if len(f.listed) > 0 {
		t.Errorf("%q were listed", f.listed)
	}

	// What came in its place in the meantime is not read.
	f.put(key, []byte("new content"))
	if r, err = o.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if changed := (*flow.ObjectError)(nil); !errors.As(err, &changed) || changed.Fault != flow.Damaged {
		t.Errorf("got %q, %v; want an error that says that it was changed", b, err)
	}

	_, err = store.Object(t.Context(), "b", "x")
	if gone := (*flow.ObjectError)(nil); !errors.As(err, &gone) || gone.Fault != flow.Gone || gone.Place != "s3://b/x" {
		t.Errorf("got %v, want that it is gone", err)
	}
}
