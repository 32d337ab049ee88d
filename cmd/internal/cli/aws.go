package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
	"github.com/spf13/pflag"

	"ephemera/cmd/internal/session"
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

// credentialTimeout bounds looking for credentials: a credential process may
// ask a person for a code.
const credentialTimeout = 90 * time.Second

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
		config.WithHTTPClient(session.HTTPClient()),
		config.WithRetryer(session.Retryer),
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
