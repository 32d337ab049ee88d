package loggroup

import (
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	const arn = "arn:aws:logs:us-east-1:123456789012:log-group:"
	tests := []struct {
		place string
		want  Place
	}{
		{"vpc-flow-logs", Place{Group: "vpc-flow-logs"}},
		{"/aws/vpc/flow_logs.1#a", Place{Group: "/aws/vpc/flow_logs.1#a"}},
		{"g:eni-0a1", Place{Group: "g", StreamPrefix: "eni-0a1"}},
		{"g:2026/11/22/[$LATEST]8f", Place{Group: "g", StreamPrefix: "2026/11/22/[$LATEST]8f"}},
		{"g:", Place{Group: "g"}},
		{arn + "g", Place{Group: "g", ARN: arn + "g", Region: "us-east-1"}},
		{arn + "/aws/g:*", Place{Group: "/aws/g", ARN: arn + "/aws/g", Region: "us-east-1"}},
		{arn + "g:*:eni-0a1", Place{Group: "g", ARN: arn + "g", Region: "us-east-1", StreamPrefix: "eni-0a1"}},
		{arn + "g:eni-0a1", Place{Group: "g", ARN: arn + "g", Region: "us-east-1", StreamPrefix: "eni-0a1"}},
		{arn + "g:log-stream:eni-0a1-all", Place{Group: "g", ARN: arn + "g", Region: "us-east-1", StreamPrefix: "eni-0a1-all"}},
		{arn + "g:log-stream:", Place{Group: "g", ARN: arn + "g", Region: "us-east-1"}},
		{"arn:aws-us-gov:logs:us-gov-west-1:123456789012:log-group:g", Place{
			Group: "g", ARN: "arn:aws-us-gov:logs:us-gov-west-1:123456789012:log-group:g", Region: "us-gov-west-1",
		}},
		{"arn", Place{Group: "arn"}},
	}
	for _, test := range tests {
		got, err := ParsePlace(Scheme + test.place)
		if err != nil || got != test.want {
			t.Errorf("%s: got %+v and %v, want %+v", test.place, got, err, test.want)
		}
	}
}

func TestParsePlaceErrors(t *testing.T) {
	tests := []struct{ place, want string }{
		{"vpc-flow-logs", "cloudwatch:GROUP"},
		{"cloudwatch:", "name of the log group is missing"},
		{"cloudwatch::eni-0a1", "name of the log group is missing"},
		{"cloudwatch:a b", "' ' cannot be in the name of a log group"},
		{"cloudwatch:grüppe", "'ü' cannot be in the name of a log group"},
		{"cloudwatch:g:a:b", "':' cannot be in the name of a stream"},
		{"cloudwatch:g:*", "'*' cannot be in the name of a stream"},
		{"cloudwatch:g:eni-*", "'*' cannot be in the name of a stream"},
		{"cloudwatch:" + strings.Repeat("g", 513), "longer than 512"},
		{"cloudwatch:g:" + strings.Repeat("s", 513), "longer than 512"},
		{"cloudwatch:arn:aws:s3:::bucket", "not the ARN of a log group"},
		{"cloudwatch:arn:aws:logs:us-east-1:123456789012:destination:d", "not the ARN of a log group"},
		{"cloudwatch:arn:aws:logs::123456789012:log-group:g", "lacks its partition, region or account"},
		{"cloudwatch:arn:aws:logs:us-east-1:123456789012:log-group:", "name of the log group is missing"},
		{"cloudwatch:arn:aws:logs:us-east-1:123456789012:log-group:g:*:*", "'*' cannot be in the name of a stream"},
	}
	for _, test := range tests {
		_, err := ParsePlace(test.place)
		checkError(t, err, test.want)
	}
}

// FuzzParsePlace checks that a place means the same when it is written out.
func FuzzParsePlace(f *testing.F) {
	for _, s := range []string{
		"cloudwatch:vpc-flow-logs", "cloudwatch:/aws/g:eni-0a1", "cloudwatch:g:log-stream:x",
		"cloudwatch:arn:aws:logs:us-east-1:123456789012:log-group:g:*:eni-0a1",
		"cloudwatch:arn:aws:logs:us-east-1:123456789012:log-group:g:log-stream:*",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlace(s)
		if err != nil {
			if p != (Place{}) {
				t.Errorf("%q: got %+v with error %v", s, p, err)
			}
			return
		}
		if p.Group == "" || strings.ContainsAny(p.Group+p.StreamPrefix, ":*") {
			t.Errorf("%q: got %+v", s, p)
		}
		again, err := ParsePlace(p.String())
		if err != nil || again != p {
			t.Errorf("%q: got %+v, and %+v and %v when written out", s, p, again, err)
		}
	})
}
