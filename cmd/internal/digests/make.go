// Package digests makes digests of flow log objects, and keeps one of each in
// a store.
//
// The digest's name is made of the object's and of what tells its content, so
// the same object gives the same digest however often, and by however many
// programs at once, it is made. Whatever is made of one object is written under
// one name; digests are never merged in place.
package digests

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

// A Maker makes digests. It can be used by several goroutines.
type Maker struct {
	// Store keeps the digests.
	Store store.Store
	// Options say how objects are read; the fields that an analysis wants.
	Options ingest.Options
	// Version asks for the version that an object has by now, where a digest
	// of another one was found. Without it, the one at hand is the last.
	Version func(context.Context, ingest.Object) (string, error)
}

// Made is a digest that was made.
type Made struct {
	Name    string // in the store
	Bytes   int64
	Removed int // digests of earlier contents of the object
	Summary digest.Summary
}

// Make makes the digest of an object, which is called object in the name of
// the digest: "bucket/key", a path.
//
// An object that cannot be read now, but may be later, gives a
// *flow.ObjectError, and no digest. One that is damaged gives its digest, of
// what could be read, and a *flow.ObjectError besides.
func (m *Maker) Make(ctx context.Context, object string, o ingest.Object) (Made, error) {
	f, err := os.CreateTemp("", "ephemera-digest-*")
	if err != nil {
		return Made{}, fmt.Errorf("no temporary file for a digest: %w", err)
	}
	defer os.Remove(f.Name()) //nolint:errcheck // it is of no more use, and in a directory that is cleaned
	defer f.Close()           //nolint:errcheck // the same
	opts := m.Options
	opts.Jobs, opts.ReadAhead = 1, 1
	return m.write(ctx, f, object, o, opts)
}

func (m *Maker) write(ctx context.Context, f *os.File, object string, o ingest.Object, opts ingest.Options) (Made, error) {
	hash := sha256.New()
	out := bufio.NewWriterSize(io.MultiWriter(f, hash), 256<<10)
	sum, err := digest.Write(out, ingest.Alone(opts, o).Records(ctx), digest.Source{Place: o.Place, Version: o.Version, Size: o.Size})
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		return Made{}, err
	}
	broken := brokenOf(&sum, o.Place)
	if broken != nil && isPassing(broken.Fault) {
		return Made{}, broken
	}
	version := o.Version
	if version == "" { // the digest tells the content as well as the object would
		version = hex.EncodeToString(hash.Sum(nil)[:16])
	}
	made := Made{Name: digest.Name(object, version), Summary: sum}
	if made.Bytes, err = f.Seek(0, io.SeekEnd); err != nil {
		return Made{}, err
	}
	if _, err = m.Store.Put(ctx, made.Name, f, store.Condition{}); err != nil {
		return Made{}, err
	}
	if !o.Once { // what can be read once is no other content of what was read before
		if made.Removed, err = m.removeOthers(ctx, made.Name, object, version, o); err != nil {
			return made, err
		}
	}
	if broken != nil {
		return made, broken
	}
	return made, nil
}

// Has reports whether there is a digest of the object's version.
func (m *Maker) Has(ctx context.Context, object string, o ingest.Object) (bool, error) {
	name := digest.Name(object, o.Version)
	names, err := m.Store.List(ctx, name)
	return slices.Contains(names, name), err
}

// brokenOf returns the error that ended the reading of the object, or nil. A
// digest that is read tells of the objects that it was made of, too; it is whole
// all the same.
func brokenOf(s *digest.Summary, place string) *flow.ObjectError {
	for _, b := range s.Broken {
		if b.Place == place {
			return &flow.ObjectError{Place: b.Place, Records: b.Records, Fault: b.Fault, Err: errors.New(b.Error)}
		}
	}
	return nil
}

// isPassing reports whether an object may be read another time.
func isPassing(f flow.Fault) bool { return f != flow.Damaged && f != flow.NotFlowLog }

// removeOthers removes the digests of other contents that the object had, if
// the one that was read is its last. Those are looked for before that is asked:
// what is found then is older than a content that is there still.
func (m *Maker) removeOthers(ctx context.Context, name, object, version string, o ingest.Object) (int, error) {
	names, err := m.Store.List(ctx, object+".")
	if err != nil {
		return 0, err
	}
	var others []string
	for _, n := range names {
		if middle, ok := strings.CutSuffix(n[len(object)+1:], digest.Suffix); ok && n != name && !strings.ContainsAny(middle, "./") {
			others = append(others, n)
		}
	}
	if len(others) == 0 {
		return 0, nil
	}
	last, err := m.isLast(ctx, version, o)
	if err != nil {
		return 0, err
	}
	if !last {
		others = []string{name}
	}
	for i, n := range others {
		if err := m.Store.Delete(ctx, n); err != nil {
			return i, err
		}
	}
	// The object may have got back an earlier content meanwhile, whose digest
	// was among those, made by somebody else.
	still, err := m.isLast(ctx, version, o)
	if err == nil && still != last {
		err = fmt.Errorf("%s was written again while its digest was made; make it again", o.Place)
	}
	return len(others), err
}

// isLast reports whether a version of the object is the one that it has by now.
func (m *Maker) isLast(ctx context.Context, version string, o ingest.Object) (bool, error) {
	if m.Version == nil {
		return true, nil
	}
	last, err := m.Version(ctx, o)
	return last == version, err
}
