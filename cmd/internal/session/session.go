// Package session says how Ephemera talks to AWS: for how long it waits, and how
// often it tries again.
package session

import (
	"errors"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// Bounds of talking to AWS. A call that is answered slowly is also bounded
// where it is made.
const (
	dialTimeout    = 5 * time.Second
	tlsTimeout     = 10 * time.Second
	headerTimeout  = 30 * time.Second // from the request to the head of the answer
	idlePerHost    = 64               // connections kept for the next of many parallel calls
	callAttempts   = 10
	longestBackoff = 20 * time.Second
)

// HTTPClient waits for nothing without a bound. Proxies come from the
// environment.
func HTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = tlsTimeout
			t.ResponseHeaderTimeout = headerTimeout
			t.MaxIdleConnsPerHost = idlePerHost
			t.MaxIdleConns = 2 * idlePerHost
		})
}

// Retryer slows down when AWS throttles, and gives up after a bounded number
// of attempts. Parallel calls that are throttled together do not use up each
// other's attempts: there is no common budget of retries.
func Retryer() aws.Retryer {
	return retry.NewAdaptiveMode(func(o *retry.AdaptiveModeOptions) {
		o.StandardOptions = append(o.StandardOptions, func(s *retry.StandardOptions) {
			s.MaxAttempts = callAttempts
			s.MaxBackoff = longestBackoff
			s.RateLimiter = ratelimit.None
			s.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(whenNobodyListens)}, s.Retryables...)
		})
	})
}

// whenNobodyListens does not try again where nothing listens: AWS always
// does, so the address is wrong, and waiting does not help.
func whenNobodyListens(err error) aws.Ternary {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return aws.FalseTernary
	}
	return aws.UnknownTernary
}
