//go:build real

package store

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/cmd/internal/session"
	"ephemera/ingest/sourcetest"
)

// client talks to the server at url as the programs talk to S3.
func client(url, secret string) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: &url, UsePathStyle: true, HTTPClient: session.HTTPClient(), Retryer: session.Retryer(),
		Credentials: credentials.NewStaticCredentialsProvider(sourcetest.AccessKey, secret, ""),
	})
}

// server starts an S3 server with a bucket.
func server(t *testing.T) (url, dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "bucket"), 0o755); err != nil {
		t.Fatal(err)
	}
	return sourcetest.S3(t, dir), dir
}

func bucketAt(t *testing.T, url, place string) *Bucket {
	t.Helper()
	b, err := NewBucket(client(url, sourcetest.SecretKey), place)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRealBucket(t *testing.T) {
	url, _ := server(t)
	for _, prefix := range []string{"", "reports/of 100%/a+b=c"} {
		t.Run(prefix, func(t *testing.T) {
			n := 0
			conformance(t, func(t *testing.T) (s, again Store) {
				place := "s3://bucket"
				if prefix != "" {
					n++
					place += "/" + prefix + string(rune('0'+n))
				}
				b := bucketAt(t, url, place)
				t.Cleanup(func() { empty(t, b) })
				return b, bucketAt(t, url, place)
			})
		})
	}
}

// empty deletes all objects, for the next test.
func empty(t *testing.T, b *Bucket) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	names, err := b.List(ctx, "")
	if err != nil {
		t.Error(err)
	}
	for _, n := range names {
		if err := b.Delete(ctx, n); err != nil {
			t.Error(err)
		}
	}
}

// A store of one prefix knows nothing of what lies beside it.
func TestRealPrefix(t *testing.T) {
	url, _ := server(t)
	whole, inner := bucketAt(t, url, "s3://bucket"), bucketAt(t, url, "s3://bucket/a")
	put(t, whole, "a/x", "one", Condition{})
	put(t, whole, "ab/x", "two", Condition{})
	put(t, whole, "b", "three", Condition{})
	lists(t, inner, "", "x")
	has(t, inner, "x", "one")
	lists(t, whole, "", "a/x", "ab/x", "b")
}

func TestRealContentType(t *testing.T) {
	url, _ := server(t)
	b := bucketAt(t, url, "s3://bucket/r/")
	put(t, b, "latest/report.html", "<html>", Condition{})
	head, err := b.client.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: aws.String("bucket"), Key: aws.String("r/latest/report.html")})
	if err != nil || aws.ToString(head.ContentType) != ContentType(".html") {
		t.Errorf("got %q, %v; want %q", aws.ToString(head.ContentType), err, ContentType(".html"))
	}
}

// Errors name the place, and say what to do.
func TestRealErrors(t *testing.T) {
	url, _ := server(t)
	none := bucketAt(t, url, "s3://nonesuch/r")
	denied, err := NewBucket(client(url, "wrong"), "s3://bucket/r")
	if err != nil {
		t.Fatal(err)
	}
	nobody := bucketAt(t, "http://127.0.0.1:1", "s3://bucket/r")
	for _, c := range []struct {
		what  string
		store *Bucket
		want  string
	}{
		{"no bucket", none, "there is no bucket nonesuch"},
		{"denied", denied, "docs/iam.md"},
		{"nobody", nobody, "connection refused"},
	} {
		_, err := c.store.Put(t.Context(), "x", strings.NewReader("one"), Condition{})
		_, conditional := c.store.Put(t.Context(), "x", strings.NewReader("one"), Condition{Absent: true})
		_, changing := c.store.Put(t.Context(), "x", strings.NewReader("one"), Condition{Is: "0123456789abcdef0123456789abcdef"})
		_, _, get := c.store.Get(t.Context(), "x")
		_, list := c.store.List(t.Context(), "x")
		for what, err := range map[string]error{
			"written": err, "written, if absent": conditional, "written, if it is": changing,
			"read": get, "listed": list, "deleted": c.store.Delete(t.Context(), "x"),
		} {
			verb, _, _ := strings.Cut(what, ",")
			for _, want := range []string{c.store.Place("x"), "cannot be " + verb, c.want} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s, %s: got %v, want an error with %q", c.what, what, err, want)
				}
			}
		}
	}
}

// Content is sent again, whole, when S3 fails in the middle; a condition holds
// for what was written in the attempt before as for what others wrote.
func TestRealRetries(t *testing.T) {
	at, _ := server(t)
	target, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	var failures atomic.Int32
	proxy := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = target.Host
		if r.Method == http.MethodPut && failures.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	defer front.Close()
	b := bucketAt(t, at, "s3://bucket")
	through, err := url.Parse(front.URL)
	if err != nil {
		t.Fatal(err)
	}
	// Requests are signed for the server's own name.
	transport := &http.Transport{Proxy: http.ProxyURL(through)}
	defer transport.CloseIdleConnections()
	b.client = s3.New(b.client.Options(), func(o *s3.Options) { o.HTTPClient = &http.Client{Transport: transport} })
	content := strings.Repeat("0123456789", 100_000)
	failures.Store(2)
	put(t, b, "x", content, Condition{Absent: true})
	has(t, b, "x", content)
	if failures.Load() >= 0 {
		t.Fatal("no request failed")
	}
}
