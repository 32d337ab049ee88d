package session

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/aws/smithy-go"
)

// What may go better is tried again, with bounded waits; a refusal is not.
func TestRetryer(t *testing.T) {
	r := Retryer()
	for _, test := range []struct {
		err   error
		again bool
	}{
		{&smithy.GenericAPIError{Code: "RequestLimitExceeded"}, true},
		{&smithy.GenericAPIError{Code: "SlowDown"}, true},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, true},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, false},
		{&net.DNSError{IsNotFound: true}, false},
		{&smithy.GenericAPIError{Code: "UnauthorizedOperation"}, false},
		{&smithy.GenericAPIError{Code: "InvalidParameterValue"}, false},
		{&smithy.CanceledError{Err: context.Canceled}, false},
	} {
		if got := r.IsErrorRetryable(test.err); got != test.again {
			t.Errorf("%v is tried again: %t, want %t", test.err, got, test.again)
		}
	}
	if n := r.MaxAttempts(); n != callAttempts {
		t.Errorf("%d attempts, want %d", n, callAttempts)
	}
	for attempt := 1; attempt < callAttempts; attempt++ {
		if d, err := r.RetryDelay(attempt, errors.New("any")); err != nil || d > longestBackoff {
			t.Errorf("after attempt %d it waits %v (%v)", attempt, d, err)
		}
	}
	for range 1000 { // parallel calls that fail together
		if _, err := r.GetRetryToken(t.Context(), errors.New("any")); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHTTPClientIsBounded(t *testing.T) {
	c := HTTPClient()
	tr := c.GetTransport()
	if c.GetDialer().Timeout != dialTimeout || tr.TLSHandshakeTimeout != tlsTimeout || tr.ResponseHeaderTimeout != headerTimeout {
		t.Errorf("got %v to dial, %v for TLS, %v for an answer", c.GetDialer().Timeout, tr.TLSHandshakeTimeout, tr.ResponseHeaderTimeout)
	}
	if tr.MaxIdleConnsPerHost != idlePerHost || tr.MaxIdleConns < idlePerHost {
		t.Errorf("it keeps %d idle connections a host, %d in all", tr.MaxIdleConnsPerHost, tr.MaxIdleConns)
	}
}
