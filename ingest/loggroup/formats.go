package loggroup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ephemera/ingest"
)

// FlowLog is a flow log that publishes to a log group, as DescribeFlowLogs
// tells.
type FlowLog struct {
	ID          string // "fl-..."
	LogFormat   string // "${version} ${account-id} ..."; empty means the default
	TrafficType string // ACCEPT, REJECT or ALL
	ResourceID  string // of the VPC, subnet, network interface, ...
}

// String names f in errors.
func (f FlowLog) String() string {
	return fmt.Sprintf("%s (%s of %s)", f.ID, cmp.Or(f.TrafficType, "traffic"), cmp.Or(f.ResourceID, "a resource"))
}

const giveFormat = `give its fields with --format, as in the flow log's LogFormat, or as the word default`

// findFormats sets the formats of the group's lines: the given one, or those
// of the flow logs that publish to the group.
func (g *Group) findFormats(ctx context.Context, find func(context.Context, string) ([]FlowLog, error), given ingest.Format) error {
	if given.String() != "" {
		g.formats = []ingest.Format{given}
		return nil
	}
	if find == nil {
		return errors.New("events in CloudWatch Logs have no header line; " + giveFormat)
	}
	logs, err := find(ctx, g.place.Group)
	if err != nil {
		return fmt.Errorf("looking up its format: %w; %s", err, giveFormat)
	}
	g.formats, err = formatsOf(logs, g.place.StreamPrefix)
	return err
}

// formatsOf returns the formats of logs that can publish to streams of the
// prefix, without those of transit gateways, whose lines are no records. They
// differ in their numbers of fields: where two have the same, no
// line tells which of them it is, and taking one for the other swaps fields
// without a sign.
func formatsOf(logs []FlowLog, prefix string) ([]ingest.Format, error) {
	logs = slices.DeleteFunc(slices.Clone(logs), func(f FlowLog) bool { return !f.publishesTo(prefix) })
	slices.SortFunc(logs, func(a, b FlowLog) int { return cmp.Compare(a.ID, b.ID) })
	if len(logs) == 0 {
		return nil, errors.New("no flow log is found that publishes to this log group: " +
			"it may have been deleted, or belong to another account or region; " + giveFormat)
	}
	var formats []ingest.Format
	byCount := map[int]FlowLog{}
	for _, f := range logs {
		format, err := f.format()
		if err != nil {
			return nil, fmt.Errorf("flow log %s: %w; %s", f, err, giveFormat)
		}
		n := len(strings.Fields(format.String()))
		first, again := byCount[n]
		if !again {
			byCount[n] = f
			if !f.ofTransitGateway() {
				formats = append(formats, format)
			}
			continue
		}
		if other, _ := first.format(); other.String() != format.String() {
			return nil, fmt.Errorf("flow logs %s and %s publish to this log group in formats of the same number of fields, %q and %q, "+
				"so their lines cannot be told apart; give the streams of one of them, as in cloudwatch:GROUP:eni-0a1, and its --format", first, f, other, format)
		}
	}
	if len(formats) == 0 {
		return nil, fmt.Errorf("flow log %s is of a transit gateway and has no action; give VPC flow logs", logs[0])
	}
	return formats, nil
}

func (f FlowLog) format() (ingest.Format, error) {
	return ingest.ParseFormat(cmp.Or(f.LogFormat, "default"))
}

func (f FlowLog) ofTransitGateway() bool { return strings.HasPrefix(f.ResourceID, "tgw-") }

// publishesTo reports whether f can have a stream whose name begins with
// prefix. A stream is named after a network interface, and of transit
// gateways after an attachment.
func (f FlowLog) publishesTo(prefix string) bool {
	stream := "eni-"
	switch {
	case strings.HasPrefix(f.ResourceID, "eni-"):
		stream = f.ResourceID + "-"
	case f.ofTransitGateway():
		stream = "tgw-"
	}
	return strings.HasPrefix(stream, prefix) || strings.HasPrefix(prefix, stream)
}
