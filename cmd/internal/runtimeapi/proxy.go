package runtimeapi

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// A Fault is what goes wrong with a request on its way to S3.
type Fault func(w http.ResponseWriter, r *http.Request, s3 http.Handler)

// Proxy stands between a function and the S3 server at target, and does to
// each request what choose says; nil is nothing. Choose is called by several
// goroutines at a time. Requests keep their host, which is signed, so that
// the server takes them.
func Proxy(target string, choose func(*http.Request) Fault) (http.Handler, error) {
	to, err := url.Parse(target)
	if err != nil || to.Host == "" {
		return nil, fmt.Errorf("%q is no URL of a server", target)
	}
	s3 := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		// What broke off needs no line in the log of the test.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault := choose(r); fault != nil {
			fault(w, r, s3)
		} else {
			s3.ServeHTTP(w, r)
		}
	}), nil
}

// Refused answers with an error of S3, and does nothing else.
func Refused(status int, code string) Fault {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		_, _ = io.Copy(io.Discard, r.Body) // the client may not look at the answer before
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>no</Message></Error>`, code) // the client may be gone
		}
	}
}

// The errors of S3 that a function meets.
var (
	SlowDown      = Refused(http.StatusServiceUnavailable, "SlowDown")
	InternalError = Refused(http.StatusInternalServerError, "InternalError")
	AccessDenied  = Refused(http.StatusForbidden, "AccessDenied")
	NoSuchKey     = Refused(http.StatusNotFound, "NoSuchKey")
)

// Reset breaks the connection, and S3 hears nothing of the request.
func Reset(http.ResponseWriter, *http.Request, http.Handler) {
	panic(http.ErrAbortHandler)
}

// Lost lets S3 do what is asked, and breaks the connection instead of
// answering.
func Lost(_ http.ResponseWriter, r *http.Request, s3 http.Handler) {
	s3.ServeHTTP(nobody{http.Header{}}, r.WithContext(context.WithoutCancel(r.Context())))
	panic(http.ErrAbortHandler)
}

// nobody reads an answer.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header       { return n.header }
func (nobody) Write(p []byte) (int, error) { return len(p), nil }
func (nobody) WriteHeader(int)             {}

// CutAfter breaks the connection after so many bytes of the answer's body. A
// shorter answer passes.
func CutAfter(size int) Fault {
	return func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		s3.ServeHTTP(&cut{w, size}, r)
	}
}

type cut struct {
	http.ResponseWriter
	left int
}

func (c *cut) Write(p []byte) (int, error) {
	if len(p) <= c.left {
		c.left -= len(p)
		return c.ResponseWriter.Write(p)
	}
	_, _ = c.ResponseWriter.Write(p[:c.left]) // it breaks anyway
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// Slow waits before each piece of the answer, until the client is tired of
// it.
func Slow(wait time.Duration) Fault {
	return func(w http.ResponseWriter, r *http.Request, s3 http.Handler) {
		s3.ServeHTTP(&slow{w, r.Context(), wait}, r)
	}
}

type slow struct {
	http.ResponseWriter
	ctx  context.Context
	wait time.Duration
}

func (s *slow) Write(p []byte) (n int, err error) {
	const piece = 4 << 10
	for len(p) > 0 {
		select {
		case <-time.After(s.wait):
		case <-s.ctx.Done():
			return n, s.ctx.Err()
		}
		m, err := s.ResponseWriter.Write(p[:min(piece, len(p))])
		n, p = n+m, p[m:]
		if err == nil {
			err = http.NewResponseController(s.ResponseWriter).Flush()
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
