package analyze

import (
	"cmp"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"ephemera/ingest/flow"
)

type numbered struct{ Key, Number int }

// codeNumbered has the value's key as the first byte, and no key at all in
// each second sorter.
func codeNumbered(keyed bool) codec[numbered] {
	return func(c *coder, v *numbered) {
		k := uint8(v.Key)
		if !keyed {
			c.endKey()
		}
		c.byte(&k)
		if keyed {
			c.endKey()
		}
		v.Key = int(k)
		c.count(&v.Number)
	}
}

// A sorter against sorting all in memory, for any number of values and any
// limit; equal values stay in the order in which they were added.
func TestSorter(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	rng := rand.New(rand.NewPCG(4, 1))
	sorters := 60
	if testing.Short() {
		sorters = 15
	}
	for i := range sorters {
		s := newSorter(func(a, b numbered) int { return cmp.Compare(a.Key, b.Key) }, codeNumbered(i%2 == 0), 1+rng.IntN(40))
		var want []numbered
		for n := range rng.IntN(rng.IntN(5_000) + 1) {
			v := numbered{rng.IntN(50), n}
			want = append(want, v)
			s.add(v)
		}
		slices.SortStableFunc(want, s.compare)
		var readers sync.WaitGroup
		for range 3 {
			readers.Go(func() {
				if got := slices.Collect(s.all()); !slices.Equal(got, want) || s.failure() != nil {
					t.Errorf("limit %d, %d values, one of three readers: got %v (%v), want %v", s.limit, len(want), got, s.failure(), want)
				}
			})
		}
		readers.Wait()
		for range 2 {
			if got := slices.Collect(s.all()); !slices.Equal(got, want) || s.err != nil {
				t.Fatalf("limit %d, %d values: got %v (%v), want %v", s.limit, len(want), got, s.err, want)
			}
		}
		for first := range s.all() { // leaving early
			if first != want[0] {
				t.Fatalf("got %v first, want %v", first, want[0])
			}
			break
		}
		if s.len() != len(want) {
			t.Fatalf("got length %d, want %d", s.len(), len(want))
		}
		s.close()
	}
	if left, _ := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*")); len(left) > 0 {
		t.Errorf("files are left: %q", left)
	}
}

// A file that cannot be made, or not be read back, is an error and not fewer
// rows without a word.
func TestSorterErrors(t *testing.T) {
	compare := func(a, b numbered) int { return cmp.Compare(a.Key, b.Key) }
	fill := func(s *sorter[numbered]) {
		for n := range 10 {
			s.add(numbered{n, n})
		}
	}
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "none"))
	s := newSorter(compare, codeNumbered(true), 3)
	if fill(s); s.err == nil {
		t.Error("no directory for the file: got no error")
	}
	if got := len(slices.Collect(s.all())); got != 10 {
		t.Errorf("without a file: got %d values, want all 10 from memory", got)
	}
	t.Setenv("TMPDIR", t.TempDir())
	s = newSorter(compare, codeNumbered(true), 3)
	defer s.close()
	fill(s)
	if _, err := s.file.WriteAt(make([]byte, 20), s.runs[1].offset); err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Collect(s.all())); s.err == nil {
		t.Errorf("a damaged file: got %d values and no error", n)
	}
}

// An analysis whose rows and connections go to files gives the same as one
// in memory.
func TestSpilledAnalysisIsTheSame(t *testing.T) {
	inFormats(t, func(t *testing.T, f logFormat) {
		rs := longLog(f, rand.New(rand.NewPCG(3, 1)), 4)
		o := Options{Network: network(t)}
		want := asJSON(t, analysed(t, rs, o))
		for _, o.held = range []int{1, 7, 50} {
			if got := asJSON(t, analysed(t, rs, o)); got != want {
				t.Fatalf("%d held: another result: %s", o.held, firstDifference(got, want))
			}
		}
	})
}

func TestRecent(t *testing.T) {
	r := recent[int]{keep: 100}
	for i := range 10_000 {
		r.put(nthTuple(i), i, int64(i))
	}
	if len(r.all) > 3000 {
		t.Errorf("holds %d of 10,000, want little more than the last 100 s", len(r.all))
	}
	for _, x := range []struct {
		i    int
		want bool
	}{{9999, true}, {9950, true}, {9898, false}, {100, false}} {
		if got, ok := r.get(nthTuple(x.i), 9999); ok != x.want || ok && got != x.i {
			t.Errorf("%d at 9999: got %d, %t; want it: %t", x.i, got, ok, x.want)
		}
	}
}

// nthTuple makes the i-th of different five-tuples.
func nthTuple(i int) flow.Tuple {
	return flow.Tuple{Src: flow.AddrFrom4(uint32(i)), SrcPort: 40000, DstPort: 21, Proto: flow.TCP}
}
