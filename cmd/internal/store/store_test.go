package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// oddNames are names that something on the way to a disk or a server could
// take apart or put together.
var oddNames = []string{
	"a", "a.gz", "a/b", "a/b c", "a/b+c", "a/b%20c", "a/b%2Fc", "a/b=c&d?e#f", "a/b;c,d@e!f", "a/b~'()*", "ä/日本/𝒳.csv", "a-b/c", "a.b/c", "a_b",
	"day=22/hour=10/1_vpcflowlogs_eu-west-1_fl-0a_20261122T1000Z_5d41.log.gz.9f86d081-2.digest.parquet", "..a/b..", "a/...", "$x/`y`", `q"x`, "<a>&amp;",
}

// conformance is what every Store does. Two stores that make gives for one
// test have nothing in common; again gives another Store of the same place, as
// another program has it.
func conformance(t *testing.T, make func(t *testing.T) (s, again Store)) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s, again Store)
	}{
		{"names", testNames}, {"listing", testListing}, {"content", testContent}, {"conditions", testConditions}, {"races", testRaces},
		{"turns", testTurns}, {"whole", testWhole}, {"cancelled", testCancelled}, {"reader", testReader}, {"oracle", testOracle},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, again := make(t)
			c.run(t, s, again)
		})
	}
}

func put(t *testing.T, s Store, name, content string, c Condition) Version {
	t.Helper()
	v, err := s.Put(t.Context(), name, strings.NewReader(content), c)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if v == "" {
		t.Fatalf("%s was written, and has no version", name)
	}
	return v
}

func has(t *testing.T, s Store, name, want string) Version {
	t.Helper()
	b, v, err := s.Get(t.Context(), name)
	if err != nil || string(b) != want {
		t.Fatalf("%s holds %.60q, %v; want %.60q", name, b, err, want)
	}
	return v
}

func hasNone(t *testing.T, s Store, name string) {
	t.Helper()
	if b, v, err := s.Get(t.Context(), name); !errors.Is(err, ErrNone) {
		t.Fatalf("%s holds %q of version %s, %v; want %v", name, b, v, err, ErrNone)
	}
}

func lists(t *testing.T, s Store, prefix string, want ...string) {
	t.Helper()
	got, err := s.List(t.Context(), prefix)
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("the names with %q are %q, %v; want %q", prefix, got, err, want)
	}
}

func testNames(t *testing.T, s, again Store) {
	names := slices.Clone(oddNames)
	names = slices.DeleteFunc(names, func(n string) bool { return n == "a" || n == "a/..." }) // what is a file has nothing below it
	for _, n := range names {
		hasNone(t, s, n)
		v := put(t, s, n, "of "+n, Condition{})
		if got := has(t, again, n, "of "+n); got != v {
			t.Errorf("%s has version %s, and was written with %s", n, got, v)
		}
		if !strings.HasSuffix(s.Place(n), n) {
			t.Errorf("the place of %q is %q", n, s.Place(n))
		}
	}
	slices.Sort(names)
	lists(t, s, "", names...)
	for _, n := range names {
		lists(t, s, n, slices.DeleteFunc(slices.Clone(names), func(m string) bool { return !strings.HasPrefix(m, n) })...)
		if err := s.Delete(t.Context(), n); err != nil {
			t.Fatal(err)
		}
		hasNone(t, again, n)
		if err := s.Delete(t.Context(), n); err != nil {
			t.Errorf("deleting %s, which is gone: %v", n, err)
		}
	}
	lists(t, s, "")
}

func testListing(t *testing.T, s, _ Store) {
	lists(t, s, "")
	lists(t, s, "none/")
	lists(t, s, "none/x")
	names := []string{"a-b", "a.b", "a/b", "a/c/d", "ab", "b"}
	for _, n := range names {
		put(t, s, n, n, Condition{})
	}
	lists(t, s, "", names...)
	lists(t, s, "a", "a-b", "a.b", "a/b", "a/c/d", "ab")
	lists(t, s, "a/", "a/b", "a/c/d")
	lists(t, s, "a/c", "a/c/d")
	lists(t, s, "a/c/d", "a/c/d")
	lists(t, s, "a/c/d/")
	lists(t, s, "b/")
	lists(t, s, "b/x")
	lists(t, s, "b/x/y")
	hasNone(t, s, "b/x")
	if err := s.Delete(t.Context(), "b/x"); err != nil {
		t.Errorf("deleting what is below an object: %v", err)
	}
	has(t, s, "b", "b")

	var many []string // more than a page of S3
	for i := range 1100 {
		n := fmt.Sprintf("many/%04d", i)
		many = append(many, n)
		put(t, s, n, "", Condition{})
	}
	lists(t, s, "many/", many...)
}

func testContent(t *testing.T, s, _ Store) {
	for _, size := range []int{0, 1, 4096, 5 << 20} {
		content := strings.Repeat("0123456789abcdef", size/16+1)[:size]
		v := put(t, s, "x", content, Condition{})
		if got := has(t, s, "x", content); got != v {
			t.Errorf("%d bytes: version %s, want %s", size, got, v)
		}
	}
	one, two := put(t, s, "x", "one", Condition{}), put(t, s, "x", "two", Condition{})
	if one == two {
		t.Errorf("two contents have version %s", one)
	}
	// It is read from its beginning, wherever it stands.
	r := strings.NewReader("from its beginning")
	if _, err := r.Seek(5, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "y", r, Condition{}); err != nil {
		t.Fatal(err)
	}
	has(t, s, "y", "from its beginning")
}

func testConditions(t *testing.T, s, again Store) {
	refused := func(c Condition) {
		t.Helper()
		before, is, beforeErr := s.Get(t.Context(), "x")
		if v, err := s.Put(t.Context(), "x", strings.NewReader("refused"), c); !errors.Is(err, ErrCondition) || v != "" {
			t.Fatalf("%+v: got version %q, %v; want %v", c, v, err, ErrCondition)
		}
		after, was, afterErr := again.Get(t.Context(), "x")
		if !bytes.Equal(before, after) || is != was || !errors.Is(afterErr, beforeErr) {
			t.Fatalf("%+v: the object was %q, and is %q, %v", c, before, after, afterErr)
		}
	}
	refused(Condition{Is: "0123456789abcdef0123456789abcdef"}) // there is none
	one := put(t, s, "x", "one", Condition{Absent: true})
	refused(Condition{Absent: true})
	refused(Condition{Is: "0123456789abcdef0123456789abcdef"})
	two := put(t, again, "x", "two", Condition{Is: one})
	refused(Condition{Is: one})
	put(t, s, "x", "three", Condition{Is: two})
	put(t, s, "x", "one", Condition{})
	put(t, s, "x", "four", Condition{Is: one}) // a version is one of content
	if err := s.Delete(t.Context(), "x"); err != nil {
		t.Fatal(err)
	}
	refused(Condition{Is: one})
	put(t, s, "x", "five", Condition{Absent: true})
}

// Of many that write one name under a condition, one does.
func testRaces(t *testing.T, s, _ Store) {
	const writers = 24
	var is Version
	for round := range 6 {
		name, c := "x", Condition{Is: is}
		if is == "" {
			c = Condition{Absent: true}
		}
		var group sync.WaitGroup
		var mu sync.Mutex
		won := map[string]Version{}
		for w := range writers {
			content := fmt.Sprintf("round %d, writer %d", round, w)
			group.Go(func() {
				v, err := s.Put(t.Context(), name, strings.NewReader(content), c)
				if err == nil {
					mu.Lock()
					won[content] = v
					mu.Unlock()
				} else if !errors.Is(err, ErrCondition) {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if len(won) != 1 {
			t.Fatalf("round %d: %d writers think that they wrote: %v", round, len(won), won)
		}
		for content, v := range won {
			if got := has(t, s, name, content); got != v {
				t.Fatalf("version %s, want %s", got, v)
			}
			is = v
		}
	}
}

// Many add to one object, each to what it read: nothing is lost.
func testTurns(t *testing.T, s, _ Store) {
	const adders, each = 5, 4
	put(t, s, "x", "", Condition{Absent: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var group sync.WaitGroup
	for range adders {
		group.Go(func() {
			for done := 0; done < each; {
				b, v, err := s.Get(ctx, "x")
				if err == nil {
					_, err = s.Put(ctx, "x", bytes.NewReader(append(b, '+')), Condition{Is: v})
				}
				switch {
				case err == nil:
					done++
				case !errors.Is(err, ErrCondition):
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	has(t, s, "x", strings.Repeat("+", adders*each))
}

// An object is seen whole, and a version is that of the content it comes with.
func testWhole(t *testing.T, s, again Store) {
	contents := make([]string, 4)
	versions := make([]Version, len(contents))
	for i := range contents {
		contents[i] = strings.Repeat(string(rune('a'+i)), 200_000+i*50_000)
		versions[i] = put(t, s, "a/x", contents[i], Condition{})
	}
	var stop atomic.Bool
	var readers, writers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !stop.Load() {
				b, v, err := again.Get(t.Context(), "a/x")
				i := slices.Index(contents, string(b))
				if err != nil || i < 0 || versions[i] != v {
					t.Errorf("read %d bytes of version %s, %v", len(b), v, err)
					return
				}
				if names, err := again.List(t.Context(), ""); err != nil || !slices.Equal(names, []string{"a/x"}) {
					t.Errorf("there are %q, %v", names, err)
					return
				}
			}
		})
	}
	for w := range 3 {
		writers.Go(func() {
			for i := range 20 {
				if _, err := s.Put(t.Context(), "a/x", strings.NewReader(contents[(w+i)%len(contents)]), Condition{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
}

func testCancelled(t *testing.T, s, _ Store) {
	put(t, s, "x", "one", Condition{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	_, _, getErr := s.Get(ctx, "x")
	_, listErr := s.List(ctx, "")
	_, putErr := s.Put(ctx, "x", strings.NewReader("two"), Condition{})
	_, newErr := s.Put(ctx, "y", strings.NewReader("two"), Condition{Absent: true})
	for what, err := range map[string]error{"get": getErr, "list": listErr, "put": putErr, "put new": newErr, "delete": s.Delete(ctx, "x")} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", what, err, context.Canceled)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	has(t, s, "x", "one")
	hasNone(t, s, "y")
	lists(t, s, "", "x")
}

func testReader(t *testing.T, s, _ Store) {
	put(t, s, "x", "one", Condition{})
	if _, err := s.Put(t.Context(), "x", failingSeeker{}, Condition{}); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("got %v, want the error of the reader", err)
	}
	has(t, s, "x", "one")
	lists(t, s, "", "x")
}

var errDisk = errors.New("the disk is gone")

// failingSeeker is content that cannot be read.
type failingSeeker struct{}

func (failingSeeker) Read([]byte) (int, error)       { return 0, errDisk }
func (failingSeeker) Seek(int64, int) (int64, error) { return 0, nil }

// What a Store holds after many random steps is what a map holds.
func testOracle(t *testing.T, s, again Store) {
	rng := rand.New(rand.NewPCG(8, 8))
	want := map[string]string{}
	versions := map[string]Version{}
	names := []string{"a/1", "a/2", "b/1", "b/c/2", "d"}
	for step := range 200 {
		name, content := names[rng.IntN(len(names))], fmt.Sprint("step ", step)
		_, there := want[name]
		switch rng.IntN(5) {
		case 0:
			if err := s.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			delete(want, name)
		case 1:
			versions[name] = put(t, s, name, content, Condition{})
			want[name] = content
		case 2:
			v, err := again.Put(t.Context(), name, strings.NewReader(content), Condition{Absent: true})
			if there != errors.Is(err, ErrCondition) || !there && err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			if !there {
				want[name], versions[name] = content, v
			}
		case 3:
			v, err := s.Put(t.Context(), name, strings.NewReader(content), Condition{Is: versions[name]})
			if versions[name] == "" || there {
				if err != nil {
					t.Fatalf("step %d: %v", step, err)
				}
				want[name], versions[name] = content, v
			} else if !errors.Is(err, ErrCondition) {
				t.Fatalf("step %d: %v", step, err)
			}
		case 4:
			if there {
				has(t, again, name, want[name])
			} else {
				hasNone(t, again, name)
			}
		}
	}
	var left []string
	for name := range want {
		left = append(left, name)
	}
	slices.Sort(left)
	lists(t, s, "", left...)
}

func TestDirectory(t *testing.T) {
	conformance(t, func(t *testing.T) (s, again Store) {
		dir := t.TempDir()
		d := NewDirectory(filepath.Join(dir, "not", "there yet"))
		return d, d // conditions hold among those who share it
	})
}

// Nothing but the objects is left in a directory.
func TestDirectoryLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	d := NewDirectory(dir)
	put(t, d, "a/x", "one", Condition{Absent: true})
	for _, c := range []Condition{{Absent: true}, {Is: "other"}} {
		if _, err := d.Put(t.Context(), "a/x", strings.NewReader("two"), c); !errors.Is(err, ErrCondition) {
			t.Fatal(err)
		}
	}
	if _, err := d.Put(t.Context(), "a/y", failingSeeker{}, Condition{}); err == nil {
		t.Fatal("content that cannot be read was written")
	}
	entries, err := os.ReadDir(filepath.Join(dir, "a"))
	if err != nil || len(entries) != 1 || entries[0].Name() != "x" {
		t.Fatalf("there are %v, %v", entries, err)
	}
}

// Errors name the place, and say what to do.
func TestDirectoryErrors(t *testing.T) {
	dir := t.TempDir()
	d := NewDirectory(dir)
	put(t, d, "file", "one", Condition{})
	put(t, d, "folder/x", "one", Condition{})
	_, below := d.Put(t.Context(), "file/x", strings.NewReader("two"), Condition{})
	_, over := d.Put(t.Context(), "folder", strings.NewReader("two"), Condition{})
	_, _, get := d.Get(t.Context(), "folder")
	long := strings.Repeat("n", 300)
	_, tooLong := d.Put(t.Context(), long, strings.NewReader("two"), Condition{})
	for what, c := range map[string]struct {
		err  error
		want []string
	}{
		"below a file":  {below, []string{filepath.Join(dir, "file"), "cannot be written", "no file is where"}},
		"over a folder": {over, []string{filepath.Join(dir, "folder"), "cannot be written"}},
		"get a folder":  {get, []string{filepath.Join(dir, "folder"), "cannot be read"}},
		"a long name":   {tooLong, []string{"nnn", "cannot be written", "too long"}},
	} {
		for _, want := range c.want {
			if c.err == nil || !strings.Contains(c.err.Error(), want) {
				t.Errorf("%s: got %v, want an error with %q", what, c.err, want)
			}
		}
	}
	lists(t, d, "", "file", "folder/x")
	if os.Geteuid() == 0 { // permissions do not bind root
		return
	}
	if err := os.Chmod(filepath.Join(dir, "folder"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Join(dir, "folder"), 0o755)
	_, list := d.List(t.Context(), "")
	_, _, get = d.Get(t.Context(), "folder/x")
	_, write := d.Put(t.Context(), "folder/y", strings.NewReader("two"), Condition{})
	for what, err := range map[string]error{"list": list, "get": get, "put": write, "delete": d.Delete(t.Context(), "folder/x")} {
		if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "folder")) || !strings.Contains(err.Error(), "permission") {
			t.Errorf("%s: got %v, want an error with the folder", what, err)
		}
	}
}

// A name cannot lead out of the directory.
func TestDirectoryStaysInside(t *testing.T) {
	dir := t.TempDir()
	d := NewDirectory(filepath.Join(dir, "store"))
	for _, n := range []string{"../x", "a/../../x", "/x", "..", "a//../../../x"} {
		if place := d.Place(n); !strings.HasPrefix(place, filepath.Join(dir, "store")) {
			t.Errorf("%s is %s", n, place)
		}
	}
}

func TestContentType(t *testing.T) {
	for name, want := range map[string]string{
		"latest/report.html": "text/html; charset=utf-8", "report.json": "application/json", "sessions.csv": "text/csv; charset=utf-8",
		"a.log.gz.9f.digest.parquet": "application/vnd.apache.parquet", "a.log.gz": "application/octet-stream", "": "application/octet-stream",
	} {
		if got := ContentType(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestSplit(t *testing.T) {
	for place, want := range map[string][2]string{
		"s3://b": {"b", ""}, "s3://b/": {"b", ""}, "s3://b/p": {"b", "p"}, "s3://b/p/q/": {"b", "p/q/"}, "s3://b//p": {"b", "/p"},
	} {
		name, prefix, err := Split(place)
		if err != nil || name != want[0] || prefix != want[1] {
			t.Errorf("%s: got %q, %q, %v; want %q", place, name, prefix, err, want)
		}
		b, err := NewBucket(nil, place)
		if err != nil || !strings.HasSuffix(b.Place(""), "/") {
			t.Errorf("%s: %v, %v", place, b, err)
		}
	}
	for _, place := range []string{"", "b/p", "s3:/b", "s3://", "s3:///p", "S3://b", "https://b.s3.amazonaws.com/"} {
		if _, err := NewBucket(nil, place); err == nil || !strings.Contains(err.Error(), "s3://BUCKET/PREFIX") {
			t.Errorf("%s: %v", place, err)
		}
	}
}
