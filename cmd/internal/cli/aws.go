package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/pflag"
)

// awsFlags are the flags of what talks to AWS. They are not safe for
// concurrent use.
type awsFlags struct {
	region, profile, endpointURL string

	loaded *aws.Config // what config returned before
}

func (f *awsFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.region, "region", "", "AWS `region` (default: AWS_REGION, or the profile's)")
	fl.StringVar(&f.profile, "profile", "", "`profile` of the AWS configuration (default: AWS_PROFILE)")
	fl.StringVar(&f.endpointURL, "endpoint-url", "", "`URL` to send AWS calls to, in the place of AWS's own")
}

// check refuses an endpoint that is not a URL.
func (f *awsFlags) check() error {
	if f.endpointURL == "" {
		return nil
	}
	u, err := url.Parse(f.endpointURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return usageError("--endpoint-url %q: give a URL like https://vpce-0a1.ec2.eu-west-1.vpce.amazonaws.com", f.endpointURL)
	}
	return nil
}

// Bounds of talking to AWS. A call that is answered slowly is also bounded
// where it is made.
const (
	dialTimeout       = 5 * time.Second
	tlsTimeout        = 10 * time.Second
	headerTimeout     = 30 * time.Second // from the request to the head of the answer
	idlePerHost       = 64               // connections kept for the next of many parallel calls
	callAttempts      = 10
	longestBackoff    = 20 * time.Second
	credentialTimeout = 90 * time.Second // a credential process may ask a person for a code
)

// config loads the SDK's default configuration and looks up credentials, as
// the AWS CLI does: environment, profile, SSO, and the role of the machine.
// Errors say what to do. It does so once; later calls return the same.
func (f *awsFlags) config(ctx context.Context) (aws.Config, error) {
	if f.loaded != nil {
		return f.loaded.Copy(), nil
	}
	if err := f.check(); err != nil {
		return aws.Config{}, err
	}
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(f.region),
		config.WithSharedConfigProfile(f.profile),
		config.WithHTTPClient(httpClient()),
		config.WithRetryer(retryer),
		config.WithLogger(logging.Nop{}), // what matters comes as an error
	)
	if err != nil {
		return aws.Config{}, f.configError(err)
	}
	if cfg.Region == "" {
		return aws.Config{}, errors.New("no region: give --region or set AWS_REGION")
	}
	if err := f.tryCredentials(ctx, cfg.Credentials); err != nil {
		return aws.Config{}, err
	}
	f.setEndpoint(&cfg)
	f.loaded = &cfg
	return cfg.Copy(), nil
}

// setEndpoint makes the endpoint of --endpoint-url that of every client,
// whatever the environment says. It comes after the credentials: the STS and
// SSO calls that they need do not go there.
func (f *awsFlags) setEndpoint(cfg *aws.Config) {
	if f.endpointURL == "" {
		return
	}
	cfg.BaseEndpoint = aws.String(f.endpointURL)
	cfg.ConfigSources = slices.Concat([]any{config.LoadOptions{BaseEndpoint: f.endpointURL}}, cfg.ConfigSources)
}

// tryCredentials looks credentials up before the first call needs them, for
// an error of its own and not one of the call.
func (f *awsFlags) tryCredentials(ctx context.Context, c aws.CredentialsProvider) error {
	bounded, cancel := context.WithTimeout(ctx, credentialTimeout)
	defer cancel()
	_, err := c.Retrieve(bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		return fmt.Errorf("no AWS credentials within %v: %w", credentialTimeout, err)
	}
	return f.credentialError(err)
}

func (f *awsFlags) configError(err error) error {
	var missing config.SharedConfigProfileNotExistError
	if errors.As(err, &missing) {
		return fmt.Errorf("no AWS profile %q: give another --profile, or make it with: aws configure --profile %s", missing.Profile, missing.Profile)
	}
	return fmt.Errorf("the AWS configuration cannot be loaded: %w", err)
}

func (f *awsFlags) credentialError(err error) error {
	login := "aws sso login"
	if profile := cmp.Or(f.profile, os.Getenv("AWS_PROFILE")); profile != "" {
		login += " --profile " + profile
	}
	// Some of the SDK's errors about SSO have a type, but not those of a
	// token that is not there, or that cannot be renewed.
	if strings.Contains(err.Error(), "SSO") {
		return fmt.Errorf("no SSO session, or it is over; run: %s (%w)", login, err)
	}
	return fmt.Errorf("no AWS credentials: run aws configure or %s, give --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%w)", login, err)
}

// httpClient waits for nothing without a bound. Proxies come from the
// environment.
func httpClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().
		WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
		WithTransportOptions(func(t *http.Transport) {
			t.TLSHandshakeTimeout = tlsTimeout
			t.ResponseHeaderTimeout = headerTimeout
			t.MaxIdleConnsPerHost = idlePerHost
			t.MaxIdleConns = 2 * idlePerHost
		})
}

// retryer slows down when AWS throttles, and gives up after a bounded number
// of attempts. Parallel calls that are throttled together do not use up each
// other's attempts: there is no common budget of retries.
func retryer() aws.Retryer {
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
