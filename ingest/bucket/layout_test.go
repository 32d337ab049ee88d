package bucket

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"ephemera/ingest"
)

func TestInTree(t *testing.T) {
	for _, test := range []struct{ prefix, want string }{
		{"AWSLogs/", "0"},
		{"a/b/AWSLogs/", "0"},
		{"AWSLogs/o-abc123/", "0"},
		{"AWSLogs/1/", "1"},
		{"AWSLogs/o-abc123/1/", "1"},
		{"AWSLogs/1/vpcflowlogs/", "2"},
		{"AWSLogs/aws-account-id=1/aws-service=vpcflowlogs/", "2"},
		{"AWSLogs/1/CloudTrail/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/", "3"},
		{"AWSLogs/1/vpcflowlogs/r/2026/", "4 2026-01-01T00 2027-01-01T00"},
		{"AWSLogs/1/vpcflowlogs/r/2024/02/", "5 2024-02-01T00 2024-03-01T00"},
		{"AWSLogs/1/vpcflowlogs/r/year=2024/month=02/day=29/", "6 2024-02-29T00 2024-03-01T00"},
		{"AWSLogs/1/vpcflowlogs/r/2026/11/22/23/", "7 2026-11-22T23 2026-11-23T00"},
		{"AWSLogs/1/vpcflowlogs/r/2023/02/29/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/2026/13/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/2026/00/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/2026/11/22/24/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/2026/1/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/backup/", "no"},
		{"AWSLogs/1/vpcflowlogs/r/2026/11/22/23/x/", "no"},
		{"xAWSLogs/1/", "no"},
		{"", "no"},
	} {
		f, ok := inTree(test.prefix)
		got := fmt.Sprint(int(f.level))
		if f.level >= months {
			got += f.span.start.Format(" 2006-01-02T15") + f.span.end.Format(" 2006-01-02T15")
		}
		if !ok {
			got = "no"
		}
		if got != test.want {
			t.Errorf("inTree(%q): got %s, want %s", test.prefix, got, test.want)
		}
	}
}

func TestSeriesOf(t *testing.T) {
	for _, test := range []struct{ prefix, want string }{
		{"AWSLogs/1/vpcflowlogs/r/2026/", "AWSLogs/1/vpcflowlogs/r/"},
		{"AWSLogs/1/vpcflowlogs/r/2026/11/22/", "AWSLogs/1/vpcflowlogs/r/"},
		{"a/AWSLogs/o-x/1/vpcflowlogs/r/2026/", "a/AWSLogs/o-x/1/vpcflowlogs/r/"},
		{"a/AWSLogs/1/vpcflowlogs/r/year=2026/month=11/", "a/AWSLogs/1/vpcflowlogs/r/year="},
	} {
		if got := seriesOf(test.prefix); got != test.want {
			t.Errorf("seriesOf(%q): got %s, want %s", test.prefix, got, test.want)
		}
	}
}

func TestDated(t *testing.T) {
	for _, test := range []struct{ prefix, want string }{
		{"x/eventDay=20261122/", "2026-11-22T00 2026-11-23T00 true"},
		{"x/2026/", "2026-01-01T00 2027-01-01T00 false"},
		{"x/2026/11/22/05/", "2026-11-22T05 2026-11-22T06 true"},
		{"x/year=2026/month=11/day=22/", "2026-11-22T00 2026-11-23T00 true"},
		{"x/eventDay=today/", "0001-01-01T00 0001-01-01T00 false"},
		{"x/11/22/", "0001-01-01T00 0001-01-01T00 false"},
	} {
		s, day := dated(test.prefix)
		if got := fmt.Sprint(s.start.Format("2006-01-02T15"), s.end.Format(" 2006-01-02T15 "), day); got != test.want {
			t.Errorf("dated(%q): got %s, want %s", test.prefix, got, test.want)
		}
	}
}

// A prefix that inTree knows has a series, whatever is in it.
func FuzzInTree(f *testing.F) {
	for _, l := range layouts {
		f.Add(l.key("x/", "111111111111", "us-east-1", "fl-0a", day0, "x"))
	}
	f.Add("AWSLogs/o-/o-/o-/vpcflowlogs/o-/2026/")
	f.Fuzz(func(t *testing.T, key string) {
		foreignService(key)
		for i := range key {
			prefix := key[:i+1]
			dated(prefix)
			if at, ok := inTreeOrBeginning(prefix); ok && at.level >= months && strings.HasSuffix(prefix, "/") {
				if name := strings.TrimSuffix(seriesOf(prefix), "year="); !strings.HasPrefix(prefix, name) {
					t.Errorf("series %q of %q", name, prefix)
				}
				if !at.span.start.Before(at.span.end) {
					t.Errorf("%q is for %v", prefix, at.span)
				}
			}
		}
	})
}

// A policy that allows listing below AWSLogs/ allows it without the slash.
func TestListNarrowPolicy(t *testing.T) {
	f := newFake(layout{}.key("", "111111111111", "us-east-1", "fl-0a", day0, "x"))
	f.list = func(in *s3.ListObjectsV2Input) error {
		if !strings.HasPrefix(*in.Prefix, "AWSLogs/") {
			return apiError(403, "AccessDenied", "Access Denied")
		}
		return nil
	}
	if got := list(t, find(t, f, ingest.Options{}, "AWSLogs")); len(got) != 1 {
		t.Errorf("got %q", got)
	}
}

// Where there are too many folders to search, everything is listed, and what
// lies in trees is still told apart.
func TestListManyFolders(t *testing.T) {
	f := newFake()
	for i := range searchLimit + 10 {
		f.put(fmt.Sprintf("%04d/x/aws-logs-write-test", i), []byte("x"))
	}
	var want []string
	for i := range 10 {
		key := layout{}.key(fmt.Sprintf("%04d/deep/er/", 40*i), "111111111111", "us-east-1", "fl-0a", day0.AddDate(0, 0, -i), "x")
		f.put(key, []byte("x"))
		f.put(fmt.Sprintf("%04d/deep/er/AWSLogs/1/CloudTrail/x", 40*i), []byte("x"))
		want = append(want, key)
	}
	slices.Reverse(want)
	o := find(t, f, ingest.Options{}, "")
	diff(t, list(t, o), want)
	if !o.Ordered() {
		t.Error("not ordered")
	}
	diff(t, o.Notes(), []Note{{"s3://b/", "objects passed over: 10 of CloudTrail, 510 that never hold logs, such as folders' names and query results", true}})
}
