package bucket

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

// random is n bytes that no part of repeats, and that are not Parquet.
func random(rnd *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	if n > 0 {
		p[0] = 'x'
	}
	return p
}

func testStore(f *fake, opts Options) *Store {
	s := New(f, opts)
	s.backoff = 10 * time.Microsecond
	return s
}

// openKey opens an object as it is listed now.
func openKey(t testing.TB, s *Store, f *fake, key string) *opened {
	t.Helper()
	object := f.objects[key]
	r, err := s.open(t.Context(), newEntry("b", &object), false)
	if err != nil {
		t.Fatal(err)
	}
	return r.(*opened)
}

// settled waits until goroutines have ended and bodies are closed.
func settled(t testing.TB, f *fake, before int) {
	t.Helper()
	for range 1000 {
		if _, _, open := f.stats(); open == 0 && runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	_, _, open := f.stats()
	t.Errorf("%d goroutines, %d before; %d bodies open", runtime.NumGoroutine(), before, open)
}

// full reports whether all permits of s are back.
func (s *Store) full() bool { return len(s.ahead) == cap(s.ahead) }

// breaking gives some of the data, and then something worse.
func breaking(seed uint64) func(context.Context, []byte) io.Reader {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 10))
	return func(ctx context.Context, data []byte) io.Reader {
		mu.Lock()
		defer mu.Unlock()
		if rnd.IntN(3) == 0 {
			return iotest.HalfReader(bytes.NewReader(data))
		}
		n := rnd.IntN(len(data) + 1)
		part := bytes.NewReader(data[:n])
		switch rnd.IntN(4) {
		case 0:
			return part // ends early
		case 1:
			return io.MultiReader(part, iotest.ErrReader(errors.New("connection reset by peer")))
		case 2:
			return io.MultiReader(part, stall{ctx})
		}
		return iotest.DataErrReader(io.MultiReader(part, iotest.ErrReader(io.ErrUnexpectedEOF)))
	}
}

// stall gives nothing until it is cancelled.
type stall struct{ ctx context.Context }

func (s stall) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func TestReadResumes(t *testing.T) {
	before := runtime.NumGoroutine()
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		f := newFake()
		want := random(rnd, rnd.IntN(3*chunkSize))
		f.put("a", want)
		f.body = breaking(seed)
		s := testStore(f, Options{Stall: time.Millisecond, ReadAhead: int64(rnd.IntN(4 * chunkSize))})
		s.tries = 100
		r := openKey(t, s, f, "a")
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got %d bytes and %v, want %d", seed, len(got), err, len(want))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		settled(t, f, before)
		if !s.full() {
			t.Fatalf("seed %d: %d of %d permits are back", seed, len(s.ahead), cap(s.ahead))
		}
	}
}

// What was read before the last break is there, and the error says what is
// to be done.
func TestReadGivesUp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 5))
	data := random(rnd, 3*chunkSize)
	const cut = chunkSize + 1000
	later := func(err error) func(f *fake) {
		return func(f *fake) {
			f.body = func(_ context.Context, data []byte) io.Reader {
				return bytes.NewReader(data[:cut])
			}
			f.get = func(in *s3.GetObjectInput) error {
				if in.Range != nil {
					return err
				}
				return nil
			}
		}
	}
	at := func(err error) func(f *fake) {
		return func(f *fake) { f.get = func(*s3.GetObjectInput) error { return err } }
	}
	for name, test := range map[string]struct {
		set   func(*fake)
		read  int
		fault flow.Fault
		want  string
	}{
		"gone":     {func(f *fake) { delete(f.content, "a") }, 0, flow.Gone, "it was listed, and is no longer there"},
		"bucket":   {at(apiError(404, "NoSuchBucket", "x")), 0, flow.Gone, "there is no bucket b any more"},
		"denied":   {at(apiError(403, "AccessDenied", "Access Denied")), 0, flow.Denied, "access denied (AccessDenied: Access Denied); allow s3:GetObject on arn:aws:s3:::b/*, see docs/iam.md"},
		"kms":      {at(apiError(403, "AccessDenied", "User: u is not authorized to perform: kms:Decrypt on the resource")), 0, flow.Denied, "allow kms:Decrypt on the key"},
		"disabled": {at(apiError(400, "KMS.DisabledException", "k is disabled.")), 0, flow.Denied, "its KMS key cannot be used (KMS.DisabledException: k is disabled)"},
		"archived": {at(&types.InvalidObjectState{StorageClass: "INTELLIGENT_TIERING", AccessTier: "ARCHIVE_ACCESS"}), 0, flow.Archived, "it is archived (INTELLIGENT_TIERING, ARCHIVE_ACCESS); restore it"},
		"busy":     {at(apiError(503, "SlowDown", "Reduce your rate.")), 0, flow.Unreachable, "reading broke 3 times at byte 0 (SlowDown: Reduce your rate); run again"},
		"breaks":   {later(errors.New("connection refused")), cut, flow.Unreachable, fmt.Sprintf("reading broke 3 times at byte %d (connection refused); run again", cut)},
		"expired":  {later(apiError(400, "ExpiredToken", "The token has expired.")), cut, flow.Denied, "the credentials are refused (ExpiredToken: The token has expired); renew them"},
		"changed": {func(f *fake) {
			f.body = func(_ context.Context, data []byte) io.Reader {
				f.put("a", random(rnd, len(data)))
				return bytes.NewReader(data[:cut])
			}
		}, cut, flow.Damaged, "it was changed after it was listed"},
		"grown":  {func(f *fake) { f.content["a"] = random(rnd, len(data)+1) }, 0, flow.Damaged, "it was changed after it was listed"},
		"shrunk": {func(f *fake) { f.content["a"] = random(rnd, cut) }, 0, flow.Damaged, "it was changed after it was listed"},
	} {
		f := newFake()
		f.put("a", data)
		s := testStore(f, Options{})
		s.tries = 3
		test.set(f)
		r := openKey(t, s, f, "a")
		got, err := io.ReadAll(r)
		var known *flow.ObjectError
		if !errors.As(err, &known) || known.Fault != test.fault || !strings.Contains(err.Error(), test.want) || len(got) != test.read {
			t.Errorf("%s: got %d bytes and %v, want %d and %s", name, len(got), err, test.read, test.want)
		}
		r.Close()
	}
}

// Objects are consumed one after the other, as many being open as the budget
// does not hold. It must neither be exceeded nor stop the first.
func TestReadAheadBudget(t *testing.T) {
	before := runtime.NumGoroutine()
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 6))
		f := newFake()
		const objects, openAtOnce = 12, 6
		var want [objects][]byte
		for i := range want {
			want[i] = random(rnd, rnd.IntN(5*chunkSize))
			f.put(fmt.Sprintf("%02d", i), want[i])
		}
		budget := 1 + rnd.IntN(6)
		s := testStore(f, Options{ReadAhead: int64(budget * chunkSize)})
		var readers []*opened
		for i := range want {
			for len(readers) < min(objects, i+openAtOnce) {
				readers = append(readers, openKey(t, s, f, fmt.Sprintf("%02d", len(readers))))
			}
			if rnd.IntN(3) == 0 {
				time.Sleep(time.Millisecond) // so that the others fill the budget
			}
			got, err := io.ReadAll(io.LimitReader(readers[i], int64(rnd.IntN(len(want[i])+2))))
			if err != nil || !bytes.HasPrefix(want[i], got) {
				t.Fatalf("seed %d, object %d: got %d bytes and %v", seed, i, len(got), err)
			}
			if chunks := s.held(readers[i:]); chunks > budget+(len(readers)-i)*ownChunks {
				t.Fatalf("seed %d: %d chunks are held, of %d", seed, chunks, budget)
			}
			readers[i].Close()
		}
		settled(t, f, before)
		if !s.full() {
			t.Fatalf("seed %d: %d of %d permits are back", seed, len(s.ahead), cap(s.ahead))
		}
	}
}

// held is how many chunks the streams of readers hold in their queues.
func (s *Store) held(readers []*opened) (n int) {
	for _, r := range readers {
		if r.stream != nil {
			n += len(r.stream.chunks)
		}
	}
	return n
}

func TestReadCancelled(t *testing.T) {
	before := runtime.NumGoroutine()
	rnd := rand.New(rand.NewPCG(1, 7))
	f := newFake()
	f.put("a", random(rnd, 4*chunkSize))
	f.put("a.parquet", f.content["a"])
	f.body = func(ctx context.Context, data []byte) io.Reader {
		return io.MultiReader(bytes.NewReader(data[:len(data)/3]), stall{ctx})
	}
	s := testStore(f, Options{ReadAhead: chunkSize})
	for _, key := range []string{"a", "a.parquet"} {
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			object := f.objects[key]
			r, err := s.open(ctx, newEntry("b", &object), false)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Duration(rnd.IntN(3000))*time.Microsecond, cancel)
			start := time.Now()
			if _, err = io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) || time.Since(start) > time.Second {
				t.Fatalf("%s: got %v after %v", key, err, time.Since(start))
			}
			r.Close()
			cancel()
		}
	}
	settled(t, f, before)
	if !s.full() {
		t.Errorf("%d of %d permits are back", len(s.ahead), cap(s.ahead))
	}
}

func TestReadAt(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		f := newFake()
		want := random(rnd, 1+rnd.IntN([]int{1000, wholeSize, 4 * wholeSize}[rnd.IntN(3)]))
		key := []string{"a.parquet", "a"}[rnd.IntN(2)]
		f.put(key, want)
		if rnd.IntN(2) == 0 {
			f.body = breaking(seed)
		}
		s := testStore(f, Options{Stall: time.Millisecond})
		s.tries = 100
		r := openKey(t, s, f, key)
		if r.Size() != int64(len(want)) {
			t.Fatalf("size %d, want %d", r.Size(), len(want))
		}
		for range 50 {
			off := rnd.IntN(len(want) + 2)
			p := make([]byte, rnd.IntN([]int{10, windowSize, 5 * windowSize}[rnd.IntN(3)]))
			n, err := r.ReadAt(p, int64(off))
			m, wantErr := bytes.NewReader(want).ReadAt(make([]byte, len(p)), int64(off))
			if len(p) > 0 && (n != m || err != wantErr) || n > 0 && !bytes.Equal(p[:n], want[off:off+n]) {
				t.Fatalf("seed %d: ReadAt(%d, %d) of %d: got %d, %v, want %d, %v", seed, len(p), off, len(want), n, err, m, wantErr)
			}
			kept := 0
			for _, w := range r.windows.list {
				kept += len(w.data)
			}
			if kept > max(wholeSize, windowsKept*windowSize) {
				t.Fatalf("seed %d: windows of %d bytes", seed, kept)
			}
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: Read gives %d bytes and %v, want %d", seed, len(got), err, len(want))
		}
		r.Close()
	}
}

// Only what is wanted of a large file is transferred, and a small one comes
// in one request.
func TestReadAtTransfers(t *testing.T) {
	f := newFake()
	large := make([]byte, 60<<20)
	copy(large, "PAR1")
	f.put("large.parquet", large)
	f.put("large", large)
	f.put("small.parquet", large[:wholeSize])
	s := testStore(f, Options{})
	for _, test := range []struct {
		key      string
		requests int
		bytes    int64
	}{
		{"large.parquet", 1 + 1 + 20, headSize + windowSize + 5<<20},
		{"large", 1 + 1 + 20, -1},
		{"small.parquet", 1, wholeSize},
	} {
		f.gets, f.sent = nil, 0
		r := openKey(t, s, f, test.key)
		if _, err := r.Read(make([]byte, 64<<10)); err != nil { // is it Parquet?
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, windowSize), r.Size()-windowSize); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 8), r.Size()-8); err != nil {
			t.Fatal(err)
		}
		for off := r.Size() / 2; off < r.Size()/2+min(5<<20, r.Size()/4); off += 256 << 10 { // a column
			if _, err := r.ReadAt(make([]byte, 256<<10), off); err != nil {
				t.Fatal(err)
			}
		}
		if gets, sent, _ := f.stats(); gets != test.requests || test.bytes >= 0 && sent != test.bytes {
			t.Errorf("%s: %d requests, %d bytes, want %d, %d: %q", test.key, gets, sent, test.requests, test.bytes, f.gets)
		}
		r.Close()
	}
}

// A peek into an object that is not named by AWS reads its beginning only.
func TestPeek(t *testing.T) {
	f := newFake()
	text := bytes.Repeat([]byte("1 2\n"), 1<<20)
	f.put("a.log", append([]byte("start end\n"), text...))
	o := find(t, f, ingest.Options{}, "a.log")
	for object, err := range o.All(t.Context()) {
		if err != nil || object.Start != 2-600 {
			t.Errorf("got start %d and %v", object.Start, err)
		}
	}
	if gets, sent, _ := f.stats(); gets != 1 || sent != windowSize {
		t.Errorf("%d requests, %d bytes: %q", gets, sent, f.gets)
	}
}
