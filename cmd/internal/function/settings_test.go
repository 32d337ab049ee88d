package function

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ephemera/analyze"
)

// environment reads NAME=value; EPHEMERA_DIGESTS is set unless they set it.
func environment(settings ...string) func(string) string {
	env := map[string]string{envDigests: "s3://out/digests/"}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		env[name] = value
	}
	return func(name string) string { return env[name] }
}

func TestSettings(t *testing.T) {
	s, err := ParseSettings(environment(
		"EPHEMERA_REPORTS=s3://out/reports/", "EPHEMERA_SOURCES=s3://logs, s3://more/AWSLogs/,\ns3://more/x", "EPHEMERA_NETWORK=s3://out/network",
		"EPHEMERA_CONTROL_PORTS=21,2121", "EPHEMERA_PASSIVE_RANGES=203.0.113.10=50000-50099, 10.0.0.7/8=1-65535", "EPHEMERA_DAYS=0",
		"EPHEMERA_ALERTS=arn:aws:sns:eu-west-1:123456789012:t", "EPHEMERA_DEAD_LETTERS=https://sqs.eu-west-1.amazonaws.com/1/dead",
		"EPHEMERA_LOG_LEVEL=debug", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=2048", "AWS_LAMBDA_FUNCTION_NAME=ephemera-report"))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"s3://logs/", "s3://more/AWSLogs/", "s3://more/x"}; !slices.Equal(s.Sources, want) {
		t.Errorf("sources %q, want %q", s.Sources, want)
	}
	if s.Days != 0 || s.Memory != 2<<30 || s.LogLevel != slog.LevelDebug || s.Name != "ephemera-report" || len(s.DeadLetters) == 0 {
		t.Errorf("got %+v", s)
	}
	ranges := []analyze.PassiveRange{
		{Server: netip.MustParsePrefix("203.0.113.10/32"), From: 50000, To: 50099}, {Server: netip.MustParsePrefix("10.0.0.0/8"), From: 1, To: 65535},
	}
	if !slices.Equal(s.Analysis.ControlPorts, []uint16{21, 2121}) || !slices.Equal(s.Analysis.PassiveRanges, ranges) {
		t.Errorf("got %+v", s.Analysis)
	}
	s, err = ParseSettings(environment())
	if err != nil || s.Days != 7 || s.Memory != 512<<20 || s.Reports != "" || s.Sources != nil {
		t.Errorf("without anything but the digests: %+v, %v", s, err)
	}
}

// Every misconfiguration names the variable, its value, and what to do.
func TestWrongSettings(t *testing.T) {
	for _, c := range []struct{ setting, want string }{
		{"EPHEMERA_DIGESTS=", "s3://BUCKET/PREFIX/"},
		{"EPHEMERA_DIGESTS=out/digests", "s3://BUCKET/PREFIX/"},
		{"EPHEMERA_DIGESTS=arn:aws:s3:::out", "s3://BUCKET/PREFIX/"},
		{"EPHEMERA_REPORTS=/tmp/reports", "s3://BUCKET/PREFIX/"},
		{"EPHEMERA_REPORTS=s3:///reports", "s3://BUCKET/PREFIX/"},
		{"EPHEMERA_NETWORK=network", "s3://BUCKET/PREFIX/"},
		{"EPHEMERA_REPORTS=s3://out/digests/reports/", "a prefix of its own"},
		{"EPHEMERA_REPORTS=s3://out/digests", "a prefix of its own"},
		{"EPHEMERA_NETWORK=s3://out/digests/", "a prefix of its own"},
		{"EPHEMERA_SOURCES=s3://logs,logs", `"logs" is no place in S3`},
		{"EPHEMERA_SOURCES=s3://out/digests/x", "without flow logs"},
		{"EPHEMERA_FORMAT=${srcaddr} ${dstaddr} ${nonesuch!}", "nonesuch"},
		{"EPHEMERA_CONTROL_PORTS=21,x", `"x" is not a port`},
		{"EPHEMERA_CONTROL_PORTS=0", `"0" is not a port`},
		{"EPHEMERA_CONTROL_PORTS=65536", `"65536" is not a port`},
		{"EPHEMERA_PASSIVE_RANGES=203.0.113.10", "SERVER=FROM-TO"},
		{"EPHEMERA_PASSIVE_RANGES=203.0.113.10=2-1", "SERVER=FROM-TO"},
		{"EPHEMERA_PASSIVE_RANGES=203.0.113.10=0-9", "SERVER=FROM-TO"},
		{"EPHEMERA_PASSIVE_RANGES=host=1-9", "SERVER=FROM-TO"},
		{"EPHEMERA_PASSIVE_RANGES=fe80::1%eth0=1-9", "SERVER=FROM-TO"},
		{"EPHEMERA_DAYS=a week", "0 for all"},
		{"EPHEMERA_DAYS=-1", "0 for all"},
		{"EPHEMERA_DAYS=99999999", "0 for all"},
		{"EPHEMERA_ALERTS=ephemera-alerts", "ARN"},
		{"EPHEMERA_DEAD_LETTERS=arn:aws:sqs:eu-west-1:1:dead", "URL"},
		{"EPHEMERA_LOG_LEVEL=loud", "debug, info, warn or error"},
		{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=lots", "memory in MB"},
		{"AWS_LAMBDA_FUNCTION_MEMORY_SIZE=-512", "memory in MB"},
	} {
		name, value, _ := strings.Cut(c.setting, "=")
		_, err := ParseSettings(environment(c.setting))
		if err == nil {
			t.Errorf("%s is taken", c.setting)
			continue
		}
		for _, want := range []string{name, c.want} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want an error with %q", c.setting, err, want)
			}
		}
		if strings.Count(err.Error(), "\n") != 0 || !strings.Contains(err.Error(), value) && !strings.Contains(value, ",") {
			t.Errorf("%s: got %v, want one error with the value", c.setting, err)
		}
	}
}

// All that is wrong is said at once, always in the same order.
func TestManyWrongSettings(t *testing.T) {
	env := environment("EPHEMERA_DIGESTS=", "EPHEMERA_REPORTS=r", "EPHEMERA_NETWORK=n", "EPHEMERA_SOURCES=a,b", "EPHEMERA_FORMAT=!", "EPHEMERA_DAYS=x",
		"EPHEMERA_CONTROL_PORTS=x,y", "EPHEMERA_PASSIVE_RANGES=z", "EPHEMERA_LOG_LEVEL=l", "EPHEMERA_ALERTS=a", "EPHEMERA_DEAD_LETTERS=d")
	_, err := ParseSettings(env)
	if err == nil || strings.Count(err.Error(), "\n") != 12 {
		t.Fatalf("got %v, want 13 errors", err)
	}
	for range 20 {
		if _, again := ParseSettings(env); again == nil || again.Error() != err.Error() {
			t.Fatalf("the second time it says %v, the first time %v", again, err)
		}
	}
}

// A function that is set wrong says so with all of it.
func TestNewRefuses(t *testing.T) {
	_, err := New(t.Context(), environment("EPHEMERA_DIGESTS=", "EPHEMERA_DAYS=x"), nil)
	if err == nil {
		t.Fatal("it was made")
	}
	for _, want := range []string{"docs/lambda.md", envDigests, envDays} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_REGION", "eu-west-1")
	if _, err := New(t.Context(), environment("EPHEMERA_ALERTS=arn:aws:s3:::x"), nil); err == nil || !strings.Contains(err.Error(), envAlerts) {
		t.Errorf("got %v, want an error with %s", err, envAlerts)
	}
}
