package loggroup

import (
	"errors"
	"fmt"
	"strings"
)

// Scheme is what every place in CloudWatch Logs begins with.
const Scheme = "cloudwatch:"

// Place is a log group, and which of its streams are read.
type Place struct {
	// Group is the name of the log group.
	Group string

	// ARN is the log group's, without ":*" behind it, when the place gave
	// one. The group can be in another account then.
	ARN string

	// Region is that of ARN, else empty.
	Region string

	// StreamPrefix is how the names of the streams begin; empty for all.
	// The streams of flow logs are named after network interfaces:
	// "eni-0a1b2c-all".
	StreamPrefix string
}

// String gives the place as ParsePlace reads it.
func (p Place) String() string {
	s := Scheme + p.Group
	if p.ARN != "" {
		s = Scheme + p.ARN
	}
	if p.StreamPrefix != "" {
		s += ":" + p.StreamPrefix
	}
	return s
}

// ParsePlace reads "cloudwatch:GROUP[:STREAM-PREFIX]". GROUP is a name, or
// an ARN as the AWS console and IAM policies have it:
//
//	arn:aws:logs:us-east-1:123456789012:log-group:NAME
//	arn:aws:logs:us-east-1:123456789012:log-group:NAME:*
//	arn:aws:logs:us-east-1:123456789012:log-group:NAME:log-stream:STREAM
//
// Neither names of groups nor of streams hold a colon.
// Source: CloudWatch Logs API Reference, CreateLogGroup, CreateLogStream.
func ParsePlace(s string) (Place, error) {
	rest, ok := strings.CutPrefix(s, Scheme)
	if !ok {
		return Place{}, fmt.Errorf("%s: a log group is given as cloudwatch:GROUP or cloudwatch:GROUP:STREAM-PREFIX", s)
	}
	p, err := parsePlace(rest)
	if err != nil {
		return Place{}, fmt.Errorf("%s: %w", s, err)
	}
	return p, nil
}

func parsePlace(s string) (p Place, err error) {
	name := s
	if strings.HasPrefix(s, "arn:") {
		if p, name, err = parseARN(s); err != nil {
			return Place{}, err
		}
	}
	p.Group, p.StreamPrefix, _ = strings.Cut(name, ":")
	if err := checkGroup(p.Group); err != nil {
		return Place{}, err
	}
	if p.ARN != "" {
		p.ARN += p.Group
		p.StreamPrefix = strings.TrimPrefix(p.StreamPrefix, "log-stream:")
		if all, prefix, _ := strings.Cut(p.StreamPrefix, ":"); all == "*" {
			p.StreamPrefix = prefix
		}
	}
	return p, checkPrefix(p.StreamPrefix)
}

// parseARN cuts the name of the log group, and what follows it, from an ARN.
func parseARN(s string) (p Place, name string, err error) {
	const before = 6 // parts: arn, partition, service, region, account, resource type
	parts := strings.SplitN(s, ":", before+1)
	if len(parts) <= before || parts[2] != "logs" || parts[5] != "log-group" {
		return Place{}, "", errors.New("this is not the ARN of a log group, arn:aws:logs:REGION:ACCOUNT:log-group:NAME")
	}
	if parts[1] == "" || parts[3] == "" || parts[4] == "" {
		return Place{}, "", errors.New("the ARN lacks its partition, region or account")
	}
	return Place{ARN: strings.Join(parts[:before], ":") + ":", Region: parts[3]}, parts[before], nil
}

// maxName is how long names of groups and of streams can be.
const maxName = 512

func checkGroup(name string) error {
	switch {
	case name == "":
		return errors.New("the name of the log group is missing")
	case len(name) > maxName:
		return fmt.Errorf("the name of the log group is longer than %d characters", maxName)
	}
	for _, c := range name {
		if !strings.ContainsRune("._-/#", c) && !isAlphanumeric(c) {
			return fmt.Errorf("%q cannot be in the name of a log group", c)
		}
	}
	return nil
}

func checkPrefix(prefix string) error {
	if len(prefix) > maxName {
		return fmt.Errorf("the prefix of the streams is longer than %d characters", maxName)
	}
	if i := strings.IndexAny(prefix, ":*"); i >= 0 {
		return fmt.Errorf("%q cannot be in the name of a stream; what stands behind the group is how the names of the streams begin", prefix[i])
	}
	return nil
}

func isAlphanumeric(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
