package cli

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"ephemera/analyze"
	"ephemera/ingest"
	"ephemera/ingest/flow"
	"ephemera/rules"
)

// common are the flags that every command over flow logs has.
type common struct {
	from, to       string
	network        string
	clients        []string
	servers        []string
	controlPorts   []int
	passiveRanges  []string
	format         string
	jobs           int
	maxMemory      string
	logFormat      string
	quiet, verbose bool
	noProgress     bool
	requesterPays  bool
	aws            awsFlags
}

func (c *common) register(f *pflag.FlagSet) {
	f.StringVar(&c.network, "network", "", "`directory` with the network's rules: output of the AWS CLI's describe calls")
	f.StringSliceVar(&c.clients, "client", nil, "only FTP sessions of clients in this `CIDR` (repeatable)")
	f.StringSliceVar(&c.servers, "server", nil, "only FTP sessions with servers in this `CIDR` (repeatable)")
	f.IntSliceVar(&c.controlPorts, "control-port", nil, "FTP control `ports` besides 21 and 990 (repeatable)")
	f.StringSliceVar(&c.passiveRanges, "passive-range", nil, "passive ports that a server is configured to use, as `SERVER=FROM-TO`; SERVER is an address or a CIDR (repeatable)")
	c.registerSource(f)
}

// registerSource registers the flags that say how sources are read.
func (c *common) registerSource(f *pflag.FlagSet) {
	f.StringVar(&c.from, "from", "", "only records from this time on: RFC 3339, a day, or before now, like -24h or -7d")
	f.StringVar(&c.to, "to", "", "only records before this time")
	f.StringVar(&c.format, "format", "", "fields of text without a header line: `default`, or a list as in LogFormat")
	f.IntVar(&c.jobs, "jobs", 0, "objects decoded at once (default: the number of processors)")
	f.StringVar(&c.maxMemory, "max-memory", "1GiB", "about the most memory to use, a `size` such as 512MiB; what waits beyond it goes to temporary files")
	f.BoolVar(&c.requesterPays, "requester-pays", false, "agree to pay for requests to buckets that ask for it")
	c.aws.register(f)
	f.StringVar(&c.logFormat, "log-format", "text", "messages on stderr as text or json")
	f.BoolVar(&c.noProgress, "no-progress", false, "do not show how far reading has come")
	f.BoolVarP(&c.quiet, "quiet", "q", false, "say nothing on stderr but errors")
	f.BoolVarP(&c.verbose, "verbose", "v", false, "name every bad record on stderr")
}

// settings are the checked common flags.
type settings struct {
	ingest  ingest.Options
	analyze analyze.Options
	log     *slog.Logger
	verbose bool
	display *display // nil when progress is not to be shown
	drawing bool     // on a terminal
	aws     *awsFlags
	memory  memory

	requesterPays bool
}

// check turns the flags into settings. All flags are checked before anything
// is read.
func (c *common) check(s Streams, now time.Time) (settings, error) {
	out := settings{
		ingest:  ingest.Options{Jobs: c.jobs, Want: analyze.WantFields, Stdin: s.In},
		verbose: c.verbose, aws: &c.aws, requesterPays: c.requesterPays,
	}
	d := &display{err: s.Err, after: progressAfter, every: progressLines}
	var err error
	if d.log, err = c.logger(d); err != nil {
		return out, err
	}
	out.log, out.drawing = d.log, isTerminal(s.Err) && os.Getenv("TERM") != "dumb"
	if !c.noProgress && !c.quiet {
		out.display = d
	}
	if err := c.aws.check(); err != nil {
		return out, err
	}
	if c.jobs < 0 {
		return out, usageError("--jobs %d: give a number above 0, or leave it out", c.jobs)
	}
	if out.memory, err = parseMemory(c.maxMemory); err != nil {
		return out, err
	}
	out.ingest.ReadAhead = out.memory.objects()
	out.analyze.Memory = out.memory.tables()
	if out.ingest.From, err = parseTime("--from", c.from, now); err != nil {
		return out, err
	}
	if out.ingest.To, err = parseTime("--to", c.to, now); err != nil {
		return out, err
	}
	if !out.ingest.From.IsZero() && !out.ingest.To.IsZero() && !out.ingest.From.Before(out.ingest.To) {
		return out, usageError("--from %s is not before --to %s", c.from, c.to)
	}
	if c.format != "" {
		if out.ingest.Format, err = ingest.ParseFormat(c.format); err != nil {
			return out, usageError("--format: %w", err)
		}
	}
	return out, c.checkAnalysis(&out.analyze)
}

func (c *common) checkAnalysis(o *analyze.Options) error {
	var err error
	if o.Clients, err = parsePrefixes("--client", c.clients); err != nil {
		return err
	}
	if o.Servers, err = parsePrefixes("--server", c.servers); err != nil {
		return err
	}
	for _, p := range c.controlPorts {
		if p < 1 || p > 65535 {
			return usageError("--control-port %d is not a port", p)
		}
		o.ControlPorts = append(o.ControlPorts, uint16(p))
	}
	if o.PassiveRanges, err = parsePassiveRanges(c.passiveRanges); err != nil {
		return err
	}
	if c.network == "" {
		return nil
	}
	o.Network, err = rules.ReadDir(c.network)
	return err
}

func (c *common) logger(w io.Writer) (*slog.Logger, error) {
	level := slog.LevelInfo
	switch {
	case c.quiet:
		level = slog.LevelError
	case c.verbose:
		level = slog.LevelDebug
	}
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: withoutTime}
	switch c.logFormat {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})), nil
	}
	return nil, usageError("--log-format %q: give text or json", c.logFormat)
}

// withoutTime keeps messages for people short; in JSON the time stays.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// parseTime reads RFC 3339, a day, or a duration before now such as -24h or
// -7d.
func parseTime(flag, s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if strings.HasPrefix(s, "-") {
		if d, err := time.ParseDuration(s); err == nil {
			return now.Add(d), nil
		}
		if days, err := strconv.Atoi(strings.TrimSuffix(s, "d")); err == nil && strings.HasSuffix(s, "d") {
			return now.AddDate(0, 0, days), nil
		}
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usageError("%s %q: give a time like 2026-11-22T10:00:00Z, a day like 2026-11-22 (UTC), or -24h for a day ago", flag, s)
}

// parsePrefixes reads CIDRs; a bare address is itself alone.
func parsePrefixes(flag string, ss []string) ([]netip.Prefix, error) {
	var ps []netip.Prefix
	for _, s := range ss {
		p, ok := parsePrefix(s)
		if !ok {
			return nil, usageError("%s %q: give an address or a CIDR like 10.0.1.0/24", flag, s)
		}
		ps = append(ps, p)
	}
	return ps, nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err == nil
}

// parsePassiveRanges reads SERVER=FROM-TO.
func parsePassiveRanges(ss []string) ([]analyze.PassiveRange, error) {
	var rs []analyze.PassiveRange
	for _, s := range ss {
		r, ok := parsePassiveRange(s)
		if !ok {
			return nil, usageError("--passive-range %q: give SERVER=FROM-TO, an address or a CIDR and two ports in order, like 203.0.113.10=50000-50099", s)
		}
		rs = append(rs, r)
	}
	return rs, nil
}

func parsePassiveRange(s string) (r analyze.PassiveRange, ok bool) {
	server, ports, named := strings.Cut(s, "=")
	from, to, ranged := strings.Cut(ports, "-")
	low, errLow := strconv.ParseUint(from, 10, 16)
	high, errHigh := strconv.ParseUint(to, 10, 16)
	r = analyze.PassiveRange{From: uint16(low), To: uint16(high)}
	r.Server, ok = parsePrefix(server)
	return r, ok && named && ranged && errLow == nil && errHigh == nil && 1 <= low && low <= high
}

// open opens the sources for one pass over their records. What it learns of
// them goes into the settings of the analysis. done is to be called when all
// records were read: it sums up what could not be, and fails when that is all.
func (set *settings) open(ctx context.Context, places []string) (records flowStream, done func() error, err error) {
	lists, err := set.find(ctx, places)
	if err != nil {
		return nil, nil, err
	}
	if h := set.analyze.Network; h != nil {
		for _, w := range h.Warnings() {
			set.log.Warn(w)
		}
	}
	set.memory.limit()
	logs := ingest.Join(set.ingest, lists...)
	set.analyze.Ordered = logs.Ordered()
	seen := &problems{log: set.log, verbose: set.verbose}
	done = func() error {
		stats := logs.Stats()
		set.log.Debug("read", "objects", stats.Objects, "bytes", stats.Bytes, "records", seen.good)
		return seen.close()
	}
	return set.shown(seen.watch(logs.Records(ctx)), logs.Stats), done, nil
}

// shown passes a stream through, and shows progress as long as it is read.
func (set *settings) shown(records flowStream, stats func() ingest.Stats) flowStream {
	if set.display == nil {
		return records
	}
	return func(yield func(*flow.Record, error) bool) {
		stop := set.display.start(stats, set.drawing)
		defer stop()
		records(yield)
	}
}
