package cli

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// cleanAWS takes away whatever AWS configuration the machine has, and writes
// the given one.
func cleanAWS(t *testing.T, config string) {
	t.Helper()
	for _, name := range []string{
		"AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EC2", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		if value, set := os.LookupEnv(name); set {
			t.Setenv(name, value) // puts it back at the end
			os.Unsetenv(name)
		}
	}
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// profiles is an AWS configuration file.
const profiles = `[default]
region = eu-west-1
aws_access_key_id = k
aws_secret_access_key = s

[profile elsewhere]
region = eu-north-1
aws_access_key_id = k
aws_secret_access_key = s

[profile bare]
region = eu-west-1

[profile noregion]
aws_access_key_id = k
aws_secret_access_key = s

[profile sso]
region = eu-west-1
sso_session = corp
sso_account_id = 123456789012
sso_role_name = reader

[sso-session corp]
sso_region = eu-west-1
sso_start_url = https://example.com/start
`

func TestAWSConfig(t *testing.T) {
	for _, test := range []struct {
		flags  awsFlags
		env    string
		region string
		err    string
	}{
		{awsFlags{}, "", "eu-west-1", ""},
		{awsFlags{region: "us-east-2"}, "", "us-east-2", ""},
		{awsFlags{region: "us-east-2"}, "AWS_REGION=ap-south-1", "us-east-2", ""},
		{awsFlags{}, "AWS_REGION=ap-south-1", "ap-south-1", ""},
		{awsFlags{profile: "elsewhere"}, "", "eu-north-1", ""},
		{awsFlags{}, "AWS_PROFILE=elsewhere", "eu-north-1", ""},
		{awsFlags{profile: "noregion"}, "", "", "no region: give --region or set AWS_REGION"},
		{awsFlags{profile: "nosuch"}, "", "", `no AWS profile "nosuch": give another --profile, or make it with: aws configure --profile nosuch`},
		{awsFlags{profile: "bare"}, "", "", "no AWS credentials: run aws configure or aws sso login --profile bare, give --profile, or set"},
		{awsFlags{profile: "sso"}, "", "", "no SSO session, or it is over; run: aws sso login --profile sso ("},
		{awsFlags{}, "AWS_PROFILE=sso", "", "no SSO session, or it is over; run: aws sso login --profile sso ("},
		{awsFlags{endpointURL: "localhost:4566"}, "", "", `--endpoint-url "localhost:4566": give a URL`},
		{awsFlags{endpointURL: "ftp://example.com"}, "", "", "give a URL"},
		{awsFlags{endpointURL: "http://localhost:4566"}, "", "eu-west-1", ""},
	} {
		t.Run(fmt.Sprint(test.flags, test.env), func(t *testing.T) {
			cleanAWS(t, profiles)
			if name, value, ok := strings.Cut(test.env, "="); ok {
				t.Setenv(name, value)
			}
			start := time.Now()
			cfg, err := test.flags.config(t.Context())
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("got %v, want %s", err, test.err)
				}
			} else if err != nil || cfg.Region != test.region {
				t.Errorf("got region %q, error %v, want %q", cfg.Region, err, test.region)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

func TestAWSConfigIsLoadedOnce(t *testing.T) {
	cleanAWS(t, profiles)
	var f awsFlags
	first, err := f.config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_REGION", "us-east-1")
	second, err := f.config(t.Context())
	if err != nil || second.Region != first.Region || second.Credentials != first.Credentials {
		t.Errorf("got %s, then %s (%v)", first.Region, second.Region, err)
	}
}

// An SSO token that is over, as aws sso login leaves it.
func TestExpiredSSO(t *testing.T) {
	cleanAWS(t, profiles)
	cache := filepath.Join(os.Getenv("HOME"), ".aws", "sso", "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%x.json", sha1.Sum([]byte("corp")))
	token := `{"accessToken": "token", "expiresAt": "2020-01-01T00:00:00Z", "region": "eu-west-1", "startUrl": "https://example.com/start"}`
	if err := os.WriteFile(filepath.Join(cache, name), []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	f := awsFlags{profile: "sso"}
	_, err := f.config(t.Context())
	if want := "no SSO session, or it is over; run: aws sso login --profile sso ("; err == nil || !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "no such file") {
		t.Errorf("got %v, want %s", err, want)
	}
}

// slowCredentials never answers by itself.
type slowCredentials struct{}

func (slowCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	<-ctx.Done()
	return aws.Credentials{}, ctx.Err()
}

func TestCredentialsCanBeCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	var f awsFlags
	if err := f.tryCredentials(ctx, slowCredentials{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The endpoint of the flag is that of the calls, whatever the environment
// says.
func TestEndpoint(t *testing.T) {
	for _, test := range []struct{ flag, env string }{
		{"flag", ""}, {"flag", "AWS_ENDPOINT_URL"}, {"flag", "AWS_ENDPOINT_URL_EC2"}, {"", "AWS_ENDPOINT_URL"}, {"", "AWS_ENDPOINT_URL_EC2"},
	} {
		cleanAWS(t, profiles)
		var right, wrong atomic.Int32
		want := denying(t, &right)
		other := denying(t, &wrong)
		args := []string{"snapshot", "--out", t.TempDir()}
		switch {
		case test.flag == "":
			t.Setenv(test.env, want)
		case test.env != "":
			t.Setenv(test.env, other)
		}
		if test.flag != "" {
			args = append(args, "--endpoint-url", want)
		}
		var errs strings.Builder
		if code := Main(t.Context(), args, Streams{Err: &errs}); code != ExitFailed {
			t.Errorf("%+v: exit code %d: %s", test, code, &errs)
		}
		if right.Load() == 0 || wrong.Load() > 0 {
			t.Errorf("%+v: %d calls to the right place, %d to the other", test, right.Load(), wrong.Load())
		}
	}
}

// denying is the URL of an EC2 that denies every call.
func denying(t *testing.T, calls *atomic.Int32) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls.Add(1)
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors><RequestID>r</RequestID></Response>")
	}))
	t.Cleanup(server.Close)
	return server.URL
}
