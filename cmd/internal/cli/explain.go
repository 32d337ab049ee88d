package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ephemera/analyze"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

func explainCommand(s Streams) *cobra.Command {
	var f common
	cmd := &cobra.Command{
		Use:   "explain FLOW [SOURCE...]",
		Short: "The way of one flow through security groups and network ACLs, point by point",
		Long: `Explain follows one flow from its initiator through every filter and back, and
names the entry that decides at each point. A NAT gateway's port that is not
known is any of 1024-65535; the parts that are decided differently are shown.

FLOW is [tcp|udp|icmp/]SRC[:PORT],DST[:PORT] as the initiator sends it. A source
port that is left out is any ephemeral port. With a SOURCE, the flow's
connections in the log are shown point by point too, and FLOW can be a
session_id or data_id of a report.`,
		Example: `  ephemera explain --network network/ 10.0.1.11,203.0.113.10:21
  ephemera explain --network network/ 10.0.1.11:48828,203.0.113.10:50050 AWSLogs/
  ephemera explain --network network/ s-0e24f0a1b2c3 AWSLogs/`,
		Args: usageArgs(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return explain(cmd.Context(), f, args[0], args[1:], s)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func explain(ctx context.Context, f common, what string, places []string, s Streams) error {
	q, err := parseQuery(what)
	if err != nil {
		return err
	}
	set, err := f.check(s, time.Now())
	if err != nil {
		return err
	}
	switch {
	case len(places) > 0:
		return explainObserved(ctx, set, q, places, s)
	case q.ID != "":
		return usageError("%s names a row of a report: give the SOURCE that the report was made of", q.ID)
	case set.analyze.Network == nil:
		return usageError("give --network, the rules to evaluate, or a SOURCE, the log to look the flow up in")
	}
	return explainRules(s.Out, set.analyze.Network.At(time.Now().Unix()), q.Flow, 0)
}

// explainRules prints what the rules do with a flow.
func explainRules(w io.Writer, n *rules.Network, t flow.Tuple, natPort uint16) error {
	trace, err := analyze.Explain(n, t, natPort)
	if err != nil {
		return err
	}
	out := &summary{w: w}
	for _, note := range trace.Notes {
		out.printf("%s\n", note)
	}
	for _, step := range trace.Steps {
		out.step(step)
	}
	switch died := trace.DiedAt(); {
	case died != nil:
		out.printf("\nIt dies at %s.\n", cmp.Or(died.Point.String(), died.Where))
	case trace.Dropped != "":
		out.printf("\nThe rules let it pass, and it ends here: %s.\n", trace.Dropped)
	default:
		out.printf("\nThe rules let it pass, both ways%s.\n", partly(trace))
	}
	return out.err
}

// partly says that some of the ports that a host or a NAT gateway may pick
// are denied.
func partly(t *analyze.Trace) string {
	for _, s := range t.Steps {
		var denied rules.PortSet
		for _, d := range s.Decisions {
			if ports, err := rules.ParsePorts(d.Ports); err == nil && !d.Verdict.Allow {
				denied = denied.Union(ports)
			}
		}
		if !denied.IsEmpty() {
			return fmt.Sprintf(", unless the port at %s is one of %s", cmp.Or(s.Point.String(), s.Where), denied)
		}
	}
	return ""
}

func (s *summary) step(step analyze.Step) {
	s.printf("\n%-2s %s at %s\n   %s\n", step.Point, step.Direction, step.Where, step.Packet)
	for _, d := range step.Decisions {
		action := "pass"
		if !d.Verdict.Allow {
			action = "STOP"
		}
		s.printf("   %s %s %s: %s\n", action, d.Ports, layerName(d.Verdict), d.Verdict.Rule)
	}
	for _, note := range step.Notes {
		s.printf("   -    %s\n", note)
	}
}

func layerName(v rules.Verdict) string {
	if v.Layer == rules.SG {
		return "security group"
	}
	return "network ACL " + v.ID
}

// explainObserved prints the flow's connections in a log, and what the rules
// then in force do with each.
func explainObserved(ctx context.Context, set settings, q analyze.Query, places []string, s Streams) error {
	records, done, err := set.open(ctx, places)
	if err != nil {
		return err
	}
	found, err := analyze.Observe(records, set.analyze, q)
	if err := cmp.Or(err, done()); err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("the log has no such connection")
	}
	out := &summary{w: s.Out}
	for i, o := range found {
		if i == shownConnections {
			out.printf("\n... and %d more connections; give the client's port to pick one\n", len(found)-i)
			break
		}
		out.observation(o)
		if out.err == nil && o.Network != nil && o.Connection.Tuple.Dst.IsValid() {
			_, port, _ := o.Connection.NATPort()
			out.printf("\nThe rules then in force:\n")
			out.err = explainRules(s.Out, o.Network, o.Connection.Tuple, port)
		}
	}
	return out.err
}

// shownConnections is how many connections of one query are shown whole.
const shownConnections = 5

func (s *summary) observation(o analyze.Observation) {
	c := o.Connection
	s.printf("%s, %s to %s: %s", c.Tuple, stamp(c.Start), stamp(c.End), o.Outcome)
	if o.DiedAt != "" {
		s.printf(", died at %s: %s", o.DiedAt, o.Cause)
	}
	s.printf("\n")
	if addr, port, ok := c.NATPort(); ok {
		s.printf("the NAT gateway sent it from %s (confidence %.2f)\n", flow.HostPort(addr, port), c.Mapping)
	}
	for _, p := range o.Points {
		s.printf("   %-2s %-7s %s: %d packets accepted, %d rejected", p.Point, p.Direction, p.InterfaceID, p.Accepted, p.Rejected)
		if len(p.Causes) > 0 {
			s.printf(" by %s", strings.Join(p.Causes, "; "))
		}
		s.printf("\n")
	}
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

var rowIDPattern = regexp.MustCompile(`^[sd]-[0-9a-f]{12}$`)

// parseQuery reads FLOW.
func parseQuery(s string) (analyze.Query, error) {
	if rowIDPattern.MatchString(s) {
		return analyze.Query{ID: s}, nil
	}
	t := flow.Tuple{Proto: flow.TCP}
	rest := s
	if proto, ends, ok := strings.Cut(s, "/"); ok {
		p, known := map[string]flow.Proto{"tcp": flow.TCP, "udp": flow.UDP, "icmp": flow.ICMP}[proto]
		if !known {
			return analyze.Query{}, usageError("FLOW %q: the protocol is tcp, udp or icmp", s)
		}
		t.Proto, rest = p, ends
	}
	src, dst, ok := strings.Cut(rest, ",")
	if !ok {
		return analyze.Query{}, usageError("FLOW %q: write SRC[:PORT],DST:PORT, like 10.0.1.11,203.0.113.10:21", s)
	}
	var err error
	if t.Src, t.SrcPort, err = parseEnd(src); err != nil {
		return analyze.Query{}, usageError("FLOW %q: %w", s, err)
	}
	if t.Dst, t.DstPort, err = parseEnd(dst); err != nil {
		return analyze.Query{}, usageError("FLOW %q: %w", s, err)
	}
	if t.Proto.HasPorts() && t.DstPort == 0 {
		return analyze.Query{}, usageError("FLOW %q: the destination port is missing", s)
	}
	return analyze.Query{Flow: t}, nil
}

// parseEnd reads an address with or without a port; IPv6 with a port stands
// in brackets.
func parseEnd(s string) (flow.Addr, uint16, error) {
	if a, err := flow.ParseAddr(strings.Trim(s, "[]")); err == nil && a.IsValid() {
		return a, 0, nil
	}
	host, port, ok := cutLast(s, ":")
	if !ok {
		return flow.Addr{}, 0, fmt.Errorf("%q is no address", s)
	}
	a, err := flow.ParseAddr(strings.Trim(host, "[]"))
	if err != nil || !a.IsValid() {
		return flow.Addr{}, 0, fmt.Errorf("%q is no address", host)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || p == 0 {
		return flow.Addr{}, 0, fmt.Errorf("%q is no port", port)
	}
	return a, uint16(p), nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
