package loggroup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ephemera/ingest"
	"ephemera/ingest/flow"
)

func TestFormatsOf(t *testing.T) {
	const (
		five   = "${srcaddr} ${dstaddr} ${action} ${start} ${end}"
		swap   = "${dstaddr} ${srcaddr} ${action} ${start} ${end}"
		six    = "${srcaddr} ${dstaddr} ${action} ${start} ${end} ${log-status}"
		tgw    = "${version} ${resource-type} ${tgw-id}"
		tgw5   = "${version} ${resource-type} ${tgw-id} ${srcaddr} ${dstaddr}"
		broken = "${srcaddr ${dstaddr}"
	)
	tests := []struct {
		name   string
		prefix string
		logs   []FlowLog
		want   string // formats, or part of the error
	}{
		{"one", "", []FlowLog{{"fl-1", five, "ALL", "vpc-1"}}, five},
		{"default", "", []FlowLog{{ID: "fl-1"}}, format(t, "default").String()},
		{"two of one format", "", []FlowLog{{"fl-1", five, "ACCEPT", "vpc-1"}, {"fl-2", five, "REJECT", "vpc-1"}}, five},
		{"two that can be told apart", "", []FlowLog{{"fl-2", six, "ALL", "vpc-2"}, {"fl-1", five, "ALL", "vpc-1"}}, five + "; " + six},
		{"two that cannot", "", []FlowLog{{"fl-2", swap, "ALL", "subnet-1"}, {"fl-1", five, "ALL", "vpc-1"}},
			"flow logs fl-1 (ALL of vpc-1) and fl-2 (ALL of subnet-1) publish to this log group in formats of the same number of fields, " +
				fmt.Sprintf("%q and %q", five, swap)},
		{"one of them to other streams", "eni-0a1", []FlowLog{{"fl-1", five, "ALL", "eni-0a1"}, {"fl-2", swap, "ALL", "eni-0b2"}}, five},
		{"both to streams of the prefix", "eni-0", []FlowLog{{"fl-1", five, "ALL", "eni-0a1"}, {"fl-2", swap, "ALL", "eni-0b2"}}, "cannot be told apart"},
		{"an interface and a VPC", "eni-0a1", []FlowLog{{"fl-1", five, "ALL", "eni-0a1"}, {"fl-2", swap, "ALL", "vpc-1"}}, "cannot be told apart"},
		{"the whole stream", "eni-0a1-all", []FlowLog{{"fl-1", five, "ALL", "eni-0a1"}, {"fl-2", swap, "ALL", "eni-0a"}}, five},
		{"none", "", nil, "no flow log is found"},
		{"none of the prefix", "eni-0a1", []FlowLog{{"fl-1", five, "ALL", "eni-0b2"}}, "no flow log is found"},
		{"a transit gateway, too", "", []FlowLog{{"fl-1", five, "ALL", "vpc-1"}, {"fl-2", tgw, "ALL", "tgw-1"}}, five},
		{"a transit gateway, too, of as many fields", "", []FlowLog{{"fl-1", five, "ALL", "vpc-1"}, {"fl-2", tgw5, "ALL", "tgw-1"}}, "cannot be told apart"},
		{"and its streams left out", "eni-", []FlowLog{{"fl-1", five, "ALL", "vpc-1"}, {"fl-2", tgw5, "ALL", "tgw-1"}}, five},
		{"a transit gateway alone", "", []FlowLog{{"fl-2", tgw, "ALL", "tgw-1"}}, "fl-2 (ALL of tgw-1) is of a transit gateway"},
		{"a format that is none", "", []FlowLog{{"fl-1", broken, "", ""}}, "flow log fl-1 (traffic of a resource): format:"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			formats, err := formatsOf(test.logs, test.prefix)
			var texts []string
			for _, f := range formats {
				texts = append(texts, f.String())
			}
			if err != nil {
				texts = []string{err.Error()}
			}
			if got := strings.Join(texts, "; "); err == nil && got != test.want || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestFormatIsLookedUp(t *testing.T) {
	logs := func(logs ...FlowLog) func(context.Context, string) ([]FlowLog, error) {
		return func(_ context.Context, group string) ([]FlowLog, error) {
			if group != "vpc-flow-logs" {
				return nil, fmt.Errorf("asked for %q", group)
			}
			return logs, nil
		}
	}
	refused := func(context.Context, string) ([]FlowLog, error) {
		return nil, errors.New("ec2:DescribeFlowLogs is denied")
	}
	tests := []struct {
		name  string
		given string
		find  func(context.Context, string) ([]FlowLog, error)
		want  string // part of the error
	}{
		{"given", "default", refused, ""},
		{"found", "", logs(FlowLog{ID: "fl-1"}), ""},
		{"not found", "", logs(), "no flow log is found that publishes to this log group: it may have been deleted"},
		{"refused", "", refused, "looking up its format: ec2:DescribeFlowLogs is denied; give its fields with --format"},
		{"nobody to ask", "", nil, "cloudwatch:vpc-flow-logs: events in CloudWatch Logs have no header line; give its fields with --format"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, []fakeEvent{event(epoch, 1, 60, 1)})
			var opts ingest.Options
			if test.given != "" {
				opts.Format = format(t, test.given)
			}
			g, err := Find(t.Context(), f.client(), "cloudwatch:vpc-flow-logs", Options{FlowLogs: test.find, Pace: quick()}, opts)
			checkError(t, err, test.want)
			if err == nil {
				checkSame(t, spelled(t, ingest.Join(ingest.Options{}, g)), flat(t, f.events, "", ingest.Options{Format: format(t, "default")}))
			}
		})
	}
	t.Run("not asked for without events", func(t *testing.T) {
		f := newFake(t, nil)
		if _, err := Find(t.Context(), f.client(), "cloudwatch:vpc-flow-logs", Options{FlowLogs: refused, Pace: quick()}, ingest.Options{}); err != nil {
			t.Error(err)
		}
	})
}

// TestMixedFormats has lines of two flow logs in turn, and of one that was
// deleted.
func TestMixedFormats(t *testing.T) {
	var events []fakeEvent
	for i := range 300 {
		e := event(epoch.Add(time.Duration(i)*time.Second), 1, 60, i)
		switch i % 3 {
		case 1:
			e.Message = fmt.Sprintf("%d 10.0.1.5 ACCEPT %d OK", e.Time/1000, e.Time/1000+60)
		case 2:
			e.Message = "10.0.1.5 ACCEPT OK"
		}
		events = append(events, e)
	}
	f := newFake(t, events)
	find := func(context.Context, string) ([]FlowLog, error) {
		return []FlowLog{{ID: "fl-1"}, {ID: "fl-2", LogFormat: "${start} ${dstaddr} ${action} ${end} ${log-status}"}}, nil
	}
	g, err := Find(t.Context(), f.client(), "cloudwatch:vpc-flow-logs", Options{FlowLogs: find, Pace: quick()}, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for rec, err := range ingest.Join(ingest.Options{}, g).Records(t.Context()) {
		var bad *flow.RecordError
		switch {
		case i%3 == 2:
			if !errors.As(err, &bad) {
				t.Fatalf("event %d: got %v and %v, want a bad record", i, rec, err)
			}
			checkError(t, err, "3 fields, and no flow log that is known here has so many")
		case err != nil:
			t.Fatal(err)
		default:
			if wide := rec.Has.Has(flow.FieldSrcAddr); wide != (i%3 == 0) || rec.Start != events[i].Time/1000 {
				t.Fatalf("event %d: got %+v", i, rec)
			}
		}
		i++
	}
	if i != len(events) {
		t.Errorf("got %d steps, want %d", i, len(events))
	}
}
