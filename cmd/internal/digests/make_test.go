package digests

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/digest"
	"ephemera/ingest/flow"
)

const (
	header = "interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action\n"
	place  = "s3://logs/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz"
	object = "logs/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz"
)

// content is a flow log of some records, of a source port that tells it.
func content(port, records int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	fmt.Fprint(z, header)
	for i := range records {
		fmt.Fprintf(z, "eni-1 10.0.1.5 203.0.113.10 %d 21 6 9 712 %d %d ACCEPT\n", port, 1795370837+i, 1795370861+i)
	}
	if err := z.Close(); err != nil {
		panic(err) // into memory
	}
	return b.Bytes()
}

// objectOf is an object that holds b under a version.
func objectOf(version string, b []byte) ingest.Object {
	return ingest.Object{
		Place: place, Start: ingest.UnknownStart, Size: int64(len(b)), Version: version,
		Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil },
	}
}

// kept are the objects of a store, by name.
func kept(t *testing.T, s store.Store) map[string]string {
	t.Helper()
	names, err := s.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range names {
		b, _, err := s.Get(t.Context(), n)
		if err != nil {
			t.Fatal(err)
		}
		all[n] = string(b)
	}
	return all
}

func keeps(t *testing.T, s store.Store, want ...string) {
	t.Helper()
	if got := slices.Sorted(maps.Keys(kept(t, s))); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		t.Fatalf("there are %q, want %q", got, want)
	}
}

// scratch is a directory for temporary files, which must be empty in the end.
func scratch(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
			t.Errorf("temporary files are left: %v, %v", entries, err)
		}
	})
}

// The same object gives the same digest however often it is made, and by
// however many at once.
func TestMakeAgain(t *testing.T) {
	scratch(t)
	m := &Maker{Store: store.NewDirectory(t.TempDir())}
	o := objectOf("9f", content(40000, 50))
	first, err := m.Make(t.Context(), object, o)
	if err != nil || first.Name != digest.Name(object, "9f") || first.Summary.Records != 50 || first.Removed != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	before := kept(t, m.Store)
	if n := int64(len(before[first.Name])); n != first.Bytes || n == 0 {
		t.Errorf("it has %d bytes, and said %d", n, first.Bytes)
	}
	if has, err := m.Has(t.Context(), object, o); !has || err != nil {
		t.Error(has, err)
	}
	for _, version := range []string{"9", "9f0", ""} {
		if has, err := m.Has(t.Context(), object, objectOf(version, nil)); has || err != nil {
			t.Error(version, has, err)
		}
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if again, err := m.Make(t.Context(), object, o); err != nil || again.Name != first.Name || again.Bytes != first.Bytes {
				t.Errorf("%+v, %v", again, err)
			}
		})
	}
	group.Wait()
	if after := kept(t, m.Store); !maps.Equal(before, after) {
		t.Error("making it again changed something")
	}
}

// What tells the content of an object without a version is its digest.
func TestMakeWithoutVersion(t *testing.T) {
	scratch(t)
	m := &Maker{Store: store.NewDirectory(t.TempDir())}
	one, err := m.Make(t.Context(), object, objectOf("", content(40000, 5)))
	if err != nil {
		t.Fatal(err)
	}
	two, err := m.Make(t.Context(), object, objectOf("", content(40001, 5)))
	if err != nil || two.Name == one.Name || two.Removed != 1 {
		t.Fatalf("%+v, %v", two, err)
	}
	keeps(t, m.Store, two.Name)
	again, err := m.Make(t.Context(), object, objectOf("", content(40001, 5)))
	if err != nil || again.Name != two.Name {
		t.Fatalf("%+v, %v", again, err)
	}
	// Standard input is another one each time.
	in := objectOf("", content(40002, 5))
	in.Once = true
	three, err := m.Make(t.Context(), object, in)
	if err != nil {
		t.Fatal(err)
	}
	keeps(t, m.Store, two.Name, three.Name)
}

// Digests of earlier contents go; those of objects with names that begin
// alike, and what is no digest, stay.
func TestOthersRemoved(t *testing.T) {
	scratch(t)
	m := &Maker{Store: store.NewDirectory(t.TempDir()), Version: func(context.Context, ingest.Object) (string, error) { return "new", nil }}
	stay := []string{
		digest.Name(object+".gz", "9f"), digest.Name(object+"x", "9f"), digest.Name(object+".d/x", "9f"), object + ".notes.txt", digest.Name(object[:len(object)-3], "9f"),
		digest.Name(digest.Name(object, "9f"), "7c"),
	}
	for _, n := range slices.Concat(stay, []string{digest.Name(object, "old"), digest.Name(object, "older-2")}) {
		if _, err := m.Store.Put(t.Context(), n, strings.NewReader("x"), store.Condition{}); err != nil {
			t.Fatal(err)
		}
	}
	made, err := m.Make(t.Context(), object, objectOf("new", content(40000, 1)))
	if err != nil || made.Removed != 2 {
		t.Fatalf("%+v, %v", made, err)
	}
	keeps(t, m.Store, append(stay, made.Name)...)
}

// An object that may be read another time has no digest; one that is damaged
// has one, which tells what is missing.
func TestFaults(t *testing.T) {
	scratch(t)
	whole := content(40000, 5000)
	for _, c := range []struct {
		fault flow.Fault
		want  bool // has a digest
	}{
		{flow.Damaged, true}, {flow.NotFlowLog, true}, {flow.Gone, false}, {flow.Archived, false}, {flow.Denied, false}, {flow.Unreachable, false},
	} {
		for _, cut := range []int{0, len(whole) / 2} {
			m := &Maker{Store: store.NewDirectory(t.TempDir())}
			o := objectOf("9f", nil)
			o.Open = func(context.Context) (io.ReadCloser, error) {
				broken := &flow.ObjectError{Fault: c.fault, Err: errors.New("it is so")}
				if cut == 0 {
					return nil, broken
				}
				return io.NopCloser(io.MultiReader(bytes.NewReader(whole[:cut]), failing{broken})), nil
			}
			made, err := m.Make(t.Context(), object, o)
			var e *flow.ObjectError
			if !errors.As(err, &e) || e.Fault != c.fault || e.Place != place {
				t.Errorf("%v at %d: got %v", c.fault, cut, err)
				continue
			}
			if !c.want {
				keeps(t, m.Store)
				continue
			}
			keeps(t, m.Store, made.Name)
			if cut > 0 && made.Summary.Records == 0 {
				t.Errorf("%v: no record before the break was kept", c.fault)
			}
			if got := faults(t, m.Store, made.Name); !slices.Equal(got, []flow.Fault{c.fault}) {
				t.Errorf("%v: the digest tells of %v", c.fault, got)
			}
		}
	}
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// faults are those that reading a digest tells of.
func faults(t *testing.T, s store.Store, name string) (all []flow.Fault) {
	t.Helper()
	b, _, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range ingest.Parquet(bytes.NewReader(b), int64(len(b)), name, ingest.Options{}) {
		var e *flow.ObjectError
		if errors.As(err, &e) {
			all = append(all, e.Fault)
		}
	}
	return all
}

// The digest of a digest is whole, whatever that tells of its object.
func TestDigestOfDigest(t *testing.T) {
	scratch(t)
	whole := content(40000, 5000)
	m := &Maker{Store: store.NewDirectory(t.TempDir())}
	first, err := m.Make(t.Context(), object, objectOf("9f", whole[:len(whole)/2]))
	if err == nil {
		t.Fatal("an object that is cut short is whole")
	}
	o := objectOf("7c", []byte(kept(t, m.Store)[first.Name]))
	o.Place = "digests/" + first.Name
	second, err := m.Make(t.Context(), o.Place, o)
	if err != nil || second.Summary.Records != first.Summary.Records {
		t.Fatalf("%+v, %v", second, err)
	}
	if got := faults(t, m.Store, second.Name); !slices.Equal(got, []flow.Fault{flow.Damaged}) {
		t.Errorf("it tells of %v", got)
	}
}

// Nothing is left of a run that is broken off, or whose store fails.
func TestMakeFails(t *testing.T) {
	scratch(t)
	m := &Maker{Store: store.NewDirectory(t.TempDir())}
	ctx, cancel := context.WithCancel(t.Context())
	o := objectOf("9f", nil)
	o.Open = func(context.Context) (io.ReadCloser, error) {
		cancel()
		return io.NopCloser(bytes.NewReader(content(40000, 5000))), nil
	}
	if made, err := m.Make(ctx, object, o); !errors.Is(err, context.Canceled) || made.Name != "" {
		t.Errorf("%+v, %v; want %v", made, err, context.Canceled)
	}
	keeps(t, m.Store)
	if err := os.WriteFile(m.Store.Place("logs"), nil, 0o600); err != nil { // a file where a folder has to be
		t.Fatal(err)
	}
	if made, err := m.Make(t.Context(), object, objectOf("9f", content(40000, 5))); err == nil || made.Name != "" || !strings.Contains(err.Error(), m.Store.Place(object)) {
		t.Errorf("%+v, %v", made, err)
	}
}

// world is a store of digests that makers use step by step.
type world struct {
	store.Store
	step func(do func())
}

func (w *world) Put(ctx context.Context, name string, r io.ReadSeeker, c store.Condition) (v store.Version, err error) {
	w.step(func() { v, err = w.Store.Put(ctx, name, r, c) })
	return v, err
}

func (w *world) List(ctx context.Context, prefix string) (names []string, err error) {
	w.step(func() { names, err = w.Store.List(ctx, prefix) })
	return names, err
}

func (w *world) Delete(ctx context.Context, name string) (err error) {
	w.step(func() { err = w.Store.Delete(ctx, name) })
	return err
}

// history is what becomes of the object, by version, and what goes on in the
// order of turns: 0 is that it gets its next version, any other one is a step
// of that maker. A maker begins with a look at the version, is told of each
// version once, and tries again after an error, as the function does.
func history(t *testing.T, versions []string, turns []int) (digests []string) {
	t.Helper()
	disk := store.NewDirectory(t.TempDir())
	now := versions[0]
	next := versions[1:]
	contents := map[string][]byte{}
	for i, v := range versions {
		contents[v] = content(40000+i, 2)
	}
	type maker struct{ wants, may chan struct{} }
	makers := make([]maker, len(versions))
	var group sync.WaitGroup
	for i := range makers {
		k := maker{make(chan struct{}), make(chan struct{})}
		makers[i] = k
		step := func(do func()) {
			k.wants <- struct{}{}
			<-k.may
			do()
			k.may <- struct{}{}
		}
		group.Go(func() {
			defer close(k.wants)
			m := &Maker{Store: &world{Store: disk, step: step}, Version: func(context.Context, ingest.Object) (v string, err error) {
				step(func() { v = now })
				return v, nil
			}}
			for range 5 {
				var o ingest.Object
				step(func() { o = objectOf(now, contents[now]) })
				if _, err := m.Make(context.Background(), object, o); err == nil {
					return
				}
			}
			t.Error("it does not come to an end")
		})
	}
	// turn lets a maker take a step; it reports false when it is over.
	turn := func(k maker) bool {
		if _, more := <-k.wants; !more {
			return false
		}
		k.may <- struct{}{}
		<-k.may
		return true
	}
	change := func() {
		if len(next) > 0 {
			now, next = next[0], next[1:]
		}
	}
	for _, who := range turns {
		if who == 0 {
			change()
		} else if who-1 <= len(versions)-1-len(next) { // it was told of its version
			turn(makers[who-1])
		}
	}
	for len(next) > 0 {
		change()
	}
	for _, k := range makers {
		for turn(k) {
			continue
		}
	}
	group.Wait()
	names, err := disk.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// In whatever order the steps of two makers and the change of the object come,
// the digest of the last content is left, and no other one. Of all orders, one
// in some is tried.
func TestInterleavings(t *testing.T) {
	orders, rng := 0, rand.New(rand.NewPCG(8, 11))
	each := 12
	if testing.Short() {
		each = 100
	}
	var grow func(turns []int, left [3]int)
	grow = func(turns []int, left [3]int) {
		if left == [3]int{} {
			if orders++; rng.IntN(each) > 0 {
				return
			}
			if got, want := history(t, []string{"a", "b"}, turns), digest.Name(object, "b"); !slices.Equal(got, []string{want}) {
				t.Errorf("%v: there are %q, want %s", turns, got, want)
			}
			return
		}
		for who := range left {
			if left[who] > 0 {
				less := left
				less[who]--
				grow(append(turns[:len(turns):len(turns)], who), less)
			}
		}
	}
	grow(nil, [3]int{1, 6, 5})
	if orders != 5544 {
		t.Errorf("there are %d orders", orders)
	}
}

// The object may get back a content that it had before.
func TestContentComesBack(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 10))
	want := digest.Name(object, "a")
	histories := 500
	if testing.Short() {
		histories = 60
	}
	for range histories {
		turns := make([]int, 4+rng.IntN(24))
		for i := range turns {
			turns[i] = rng.IntN(4)
		}
		if got := history(t, []string{"a", "b", "a"}, turns); !slices.Equal(got, []string{want}) {
			t.Fatalf("%v: there are %q, want %s", turns, got, want)
		}
	}
}
