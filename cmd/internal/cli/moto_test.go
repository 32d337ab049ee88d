//go:build real

package cli

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// freeAddr is an address on which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// motoConfig is the configuration of an SDK client of moto.
func motoConfig(url string) aws.Config {
	return aws.Config{
		Region: "us-east-1", BaseEndpoint: aws.String(url),
		Credentials: credentials.NewStaticCredentialsProvider("key", "secret", ""),
	}
}

// setAWS sets AWS's environment for a test: a region, credentials, and no
// asking for those of a machine.
func setAWS(t *testing.T, key, secret string) {
	t.Helper()
	t.Setenv("AWS_REGION", "us-east-1")
	t.Setenv("AWS_ACCESS_KEY_ID", key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// runMain runs the program, and returns its exit code and what it prints.
func runMain(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = Main(ctx, args, Streams{In: bytes.NewReader(nil), Out: &out, Err: &errs})
	return code, out.String(), errs.String()
}

// python runs a script with the libraries of moto, boto3 among them, and
// returns what it prints.
func python(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	program := filepath.Join(filepath.Dir(os.Getenv("EPHEMERA_MOTO")), "python")
	out, err := exec.CommandContext(ctx, program, append([]string{"-c", script}, args...)...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		t.Fatalf("%v:\n%s", err, failed.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}
