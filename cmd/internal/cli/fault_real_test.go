//go:build real

package cli

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"ephemera/analyze"
	"ephemera/ingest/sourcetest"
)

// faulty stands between the program and S3, and fails the first request for
// every object in one way or another. Those in lost it fails always.
type faulty struct {
	s3   httputil.ReverseProxy
	lost map[string]bool

	mu   sync.Mutex
	seen map[string]bool
}

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := filepath.Base(r.URL.Path)
	f.mu.Lock()
	again := f.seen[key]
	f.seen[key] = true
	f.mu.Unlock()
	switch h := fnv.New32a(); {
	case f.lost[key]:
		refuse(w, http.StatusForbidden, "AccessDenied")
	case again || r.URL.Query().Has("list-type"):
		f.s3.ServeHTTP(w, r)
	default:
		_, _ = h.Write([]byte(key))
		switch h.Sum32() % 8 {
		case 0:
			refuse(w, http.StatusServiceUnavailable, "SlowDown")
		case 1:
			refuse(w, http.StatusInternalServerError, "InternalError")
		case 2:
			panic(http.ErrAbortHandler) // the connection breaks without an answer
		case 3, 4:
			f.s3.ServeHTTP(&cut{ResponseWriter: w, left: int(h.Sum32() % 3000)}, r)
		default:
			f.s3.ServeHTTP(w, r)
		}
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}

// cut breaks the connection in the middle of an object.
type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if c.left -= len(p); c.left < 0 {
		_, _ = c.ResponseWriter.Write(p[:len(p)+c.left])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return c.ResponseWriter.Write(p)
}

// What breaks and works again changes no byte of the report; what does not
// is missing from it, and named.
func TestFaultyBucket(t *testing.T) {
	signedIn(t)
	buckets := t.TempDir()
	g := traffic{perHour: 120}
	logs := filepath.Join(buckets, "logs")
	g.write(t, logs, 12)
	s3, err := url.Parse(sourcetest.S3(t, buckets))
	if err != nil {
		t.Fatal(err)
	}
	proxy := &faulty{s3: httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(s3)
		r.Out.Host = r.In.Host // it is signed
	}}, lost: map[string]bool{}, seen: map[string]bool{}}
	server := httptest.NewServer(proxy)
	defer server.Close()

	want := reports(t, logs)
	sameReports(t, "passing faults", reports(t, "s3://logs/", "--endpoint-url", server.URL), want)

	var lost []string
	for _, n := range []int{3, 50, 51} {
		proxy.lost[filepath.Base(g.key(n))] = true
		lost = append(lost, "s3://logs/"+g.key(n))
		if err := os.Remove(filepath.Join(logs, g.key(n))); err != nil {
			t.Fatal(err)
		}
	}
	want = reports(t, logs)
	for _, n := range []int{3, 50, 51} {
		writeFile(t, filepath.Join(logs, g.key(n)), asText(t, g.object(n)))
	}
	got := reports(t, "s3://logs/", "--endpoint-url", server.URL)
	var said struct{ Coverage analyze.Coverage }
	if err := json.Unmarshal([]byte(got["report.json"]), &said); err != nil {
		t.Fatal(err)
	}
	if m := said.Coverage.Missing; len(m) != 1 || m[0].Fault != "access denied" || m[0].Objects != 3 || !slices.Equal(m[0].Places, lost) {
		t.Errorf("missing: got %+v, want access denied to %q", m, lost)
	}
	for name := range want {
		if strings.HasSuffix(name, ".csv") && got[name] != want[name] {
			t.Errorf("%s: not the same as without the objects that are missing", name)
		}
	}
}
