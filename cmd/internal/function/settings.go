package function

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"

	"ephemera/analyze"
	"ephemera/cmd/internal/store"
	"ephemera/ingest"
	"ephemera/ingest/bucket"
)

// The environment variables that say what the function does. docs/lambda.md
// explains them.
const (
	envDigests       = "EPHEMERA_DIGESTS"
	envReports       = "EPHEMERA_REPORTS"
	envSources       = "EPHEMERA_SOURCES"
	envNetwork       = "EPHEMERA_NETWORK"
	envFormat        = "EPHEMERA_FORMAT"
	envControlPorts  = "EPHEMERA_CONTROL_PORTS"
	envPassiveRanges = "EPHEMERA_PASSIVE_RANGES"
	envDays          = "EPHEMERA_DAYS"
	envAlerts        = "EPHEMERA_ALERTS"
	envDeadLetters   = "EPHEMERA_DEAD_LETTERS"
	envLogLevel      = "EPHEMERA_LOG_LEVEL"

	// Set by Lambda.
	envMemory = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" // MB
	envName   = "AWS_LAMBDA_FUNCTION_NAME"
)

// defaultDays is how many days a report covers.
const defaultDays = 7

// Settings are the environment, checked.
type Settings struct {
	Digests  string   // place in S3
	Reports  string   // place in S3; "" makes no reports
	Sources  []string // places in S3
	Network  string   // place in S3, or ""
	Format   ingest.Format
	Analysis analyze.Options
	Days     int    // 0 is all
	Alerts   string // an ARN, or ""
	// DeadLetters is the URL of the queue that messages are sent to which will
	// never succeed; when it is "", they are left to the queue that they came
	// from.
	DeadLetters string
	LogLevel    slog.Level
	Memory      int64 // bytes
	Name        string
}

// ParseSettings reads the environment. The error says everything that is wrong
// in it.
func ParseSettings(getenv func(string) string) (Settings, error) {
	var errs []error
	wrong := func(name, what string) {
		errs = append(errs, fmt.Errorf("%s=%q: %s", name, getenv(name), what))
	}
	s := Settings{
		Digests: getenv(envDigests), Reports: getenv(envReports), Network: getenv(envNetwork), Alerts: getenv(envAlerts),
		DeadLetters: getenv(envDeadLetters), Days: defaultDays, Memory: 512 << 20, Name: getenv(envName),
	}
	for _, p := range []struct{ name, value string }{{envDigests, s.Digests}, {envReports, s.Reports}, {envNetwork, s.Network}} {
		if _, _, err := store.Split(p.value); err != nil && (p.value != "" || p.name == envDigests) {
			wrong(p.name, "give a place in S3, s3://BUCKET/PREFIX/")
		}
	}
	for _, p := range fields(getenv(envSources)) {
		name, prefix, err := store.Split(p)
		if err != nil {
			wrong(envSources, fmt.Sprintf("%q is no place in S3; give s3://BUCKET/PREFIX, several with commas between them", p))
			continue
		}
		s.Sources = append(s.Sources, bucket.Scheme+name+"/"+prefix)
	}
	errs = append(errs, s.checkApart()...)
	var err error
	if s.Format, err = ingest.ParseFormat(formatOr(getenv(envFormat))); err != nil {
		wrong(envFormat, err.Error())
	}
	if n := getenv(envDays); n != "" {
		if s.Days, err = strconv.Atoi(n); err != nil || s.Days < 0 || s.Days > 36500 {
			wrong(envDays, "give a number of days, or 0 for all")
		}
	}
	if n := getenv(envMemory); n != "" {
		mb, err := strconv.ParseInt(n, 10, 32)
		if err != nil || mb < 64 {
			wrong(envMemory, "Lambda sets it to the memory in MB")
		}
		s.Memory = mb << 20
	}
	if l := getenv(envLogLevel); l != "" {
		if err := s.LogLevel.UnmarshalText([]byte(l)); err != nil {
			wrong(envLogLevel, "give debug, info, warn or error")
		}
	}
	if u := s.DeadLetters; u != "" && !strings.HasPrefix(u, "https://") && !strings.HasPrefix(u, "http://") {
		wrong(envDeadLetters, "give the URL of an SQS queue, https://sqs.REGION.amazonaws.com/ACCOUNT/NAME")
	}
	if a := s.Alerts; a != "" && !strings.HasPrefix(a, "arn:") {
		wrong(envAlerts, "give the ARN of an SNS topic or of an event bus")
	}
	s.Analysis, err = parseAnalysis(getenv)
	return s, errors.Join(append(errs, err)...)
}

// checkApart says which places lie in each other that must not: what lies in
// that of the digests is taken for digests, and what lies where the function
// writes to is never digested.
func (s *Settings) checkApart() (errs []error) {
	digests := folder(s.Digests)
	for _, p := range []struct{ name, value string }{{envReports, s.Reports}, {envNetwork, s.Network}} {
		if p.value != "" && s.Digests != "" && strings.HasPrefix(folder(p.value), digests) {
			errs = append(errs, fmt.Errorf("%s=%q lies in %s=%q; give each a prefix of its own", p.name, p.value, envDigests, s.Digests))
		}
	}
	for _, source := range s.Sources {
		for _, own := range []struct{ name, value string }{{envDigests, s.Digests}, {envReports, s.Reports}} {
			if own.value != "" && strings.HasPrefix(source, folder(own.value)) {
				errs = append(errs, fmt.Errorf("%s: %s lies where the function writes to, %s=%q; give the digests and the reports prefixes without flow logs",
					envSources, source, own.name, own.value))
			}
		}
	}
	return errs
}

// folder ends a place with a slash.
func folder(place string) string { return strings.TrimSuffix(place, "/") + "/" }

func formatOr(format string) string {
	if format == "" {
		return "default"
	}
	return format
}

func parseAnalysis(getenv func(string) string) (o analyze.Options, err error) {
	var errs []error
	for _, p := range fields(getenv(envControlPorts)) {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			errs = append(errs, fmt.Errorf("%s: %q is not a port", envControlPorts, p))
		}
		o.ControlPorts = append(o.ControlPorts, uint16(n))
	}
	for _, r := range fields(getenv(envPassiveRanges)) {
		p, ok := parsePassiveRange(r)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %q: give SERVER=FROM-TO, like 203.0.113.10=50000-50099", envPassiveRanges, r))
		}
		o.PassiveRanges = append(o.PassiveRanges, p)
	}
	return o, errors.Join(errs...)
}

// parsePassiveRange reads SERVER=FROM-TO.
func parsePassiveRange(s string) (r analyze.PassiveRange, ok bool) {
	server, ports, _ := strings.Cut(s, "=")
	from, to, _ := strings.Cut(ports, "-")
	low, errLow := strconv.ParseUint(from, 10, 16)
	high, errHigh := strconv.ParseUint(to, 10, 16)
	r.From, r.To = uint16(low), uint16(high)
	if a, err := netip.ParseAddr(server); err == nil && a.Zone() == "" {
		r.Server, ok = netip.PrefixFrom(a, a.BitLen()), true
	} else if p, err := netip.ParsePrefix(server); err == nil {
		r.Server, ok = p.Masked(), true
	}
	return r, ok && errLow == nil && errHigh == nil && 1 <= low && low <= high
}

// fields splits at commas, and leaves out what is empty.
func fields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' })
}
