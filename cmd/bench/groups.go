package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// threads is how many threads or jobs every contestant has.
const threads = "2"

// A group is contestants that are compared with each other.
type group struct {
	name  string
	title string
	logs  []log // it needs them

	contestants []*contestant
}

// A contestant is a program that does a group's work.
type contestant struct {
	name string
	path string
	args []string
	env  []string

	// answers names where its answers are compared: a directory, or empty
	// for what it prints. Contestants of one key must answer alike; those
	// without a key are not compared.
	key     string
	answers string

	runs []usage
}

// A log is what a group reads.
type log struct {
	name    string
	format  string
	share   int // records are the share-th part of those asked for
	minutes int
}

var (
	dayLogs = map[string]log{
		"default":  {"default", "default", 1, 24 * 60},
		"custom29": {"custom29", "custom29", 1, 24 * 60},
		"parquet":  {"parquet", "parquet", 1, 24 * 60},
	}
	// weekLog is seven days at a fifth of the rate.
	weekLog = log{"week", "default", 5, 7 * 24 * 60}
)

var formats = []string{"default", "custom29", "parquet"}

// groups are all that can be measured.
func (b *bench) groups() []*group {
	var all []*group
	for _, f := range formats {
		all = append(all, b.questions(f))
	}
	for _, f := range formats {
		all = append(all, b.aggregation(f))
	}
	return append(all, b.analysis(), b.limits(), b.scaling(), b.history())
}

// chosen are the groups to measure.
func (b *bench) chosen() ([]*group, error) {
	var names []string
	var chosen []*group
	for _, g := range b.groups() {
		names = append(names, g.name)
		if b.only.MatchString(g.name) {
			chosen = append(chosen, g)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %s names none of %v", b.only, names)
	}
	return chosen, nil
}

func (b *bench) dir(log string) string     { return filepath.Join(b.data, log) }
func (b *bench) logs(log string) string    { return filepath.Join(b.dir(log), "AWSLogs") }
func (b *bench) network(log string) string { return filepath.Join(b.dir(log), "config") }
func (b *bench) subnets(log string) string {
	return filepath.Join(b.network(log), "interfaces.csv")
}
func (b *bench) answers(name string) string { return filepath.Join(b.data, "answers", name) }

// oursEnv gives Go programs as many threads as DuckDB has.
var oursEnv = []string{"GOMAXPROCS=" + threads}

// duck is DuckDB with a question.
func (b *bench) duck(question, format, out string) *contestant {
	args := []string{question, "--format", format, "--threads", threads, "--subnets", b.subnets(format)}
	if out != "" {
		args = append(args, "--out", out)
	}
	return &contestant{name: "DuckDB", path: b.program("duck"), args: append(args, b.logs(format))}
}

// ours is package questions with a question.
func (b *bench) ours(question, format string, more ...string) *contestant {
	args := append([]string{question, "--jobs", threads}, more...)
	return &contestant{name: "Ephemera's reader", path: b.program("ours"), args: append(args, b.logs(format)), env: oursEnv}
}

// analyze is the whole analysis.
func (b *bench) analyze(name, log, source, jobs string) *contestant {
	out := b.answers("analyze-" + jobs + "-" + filepath.Base(source))
	return &contestant{
		name: name, path: b.program("ephemera"), env: []string{"GOMAXPROCS=" + jobs}, answers: out,
		args: []string{"analyze", "-q", "--jobs", jobs, "--network", b.network(log), "--out", out, source},
	}
}

func (b *bench) questions(format string) *group {
	g := &group{name: "ask-" + format, title: "Three questions about FTP, " + titles[format], logs: []log{dayLogs[format]}}
	out := [2]string{b.answers(g.name + "-duck"), b.answers(g.name + "-ours")}
	g.contestants = []*contestant{
		b.duck("ask", format, out[0]),
		b.ours("ask", format, "--subnets", b.subnets(format), "--out", out[1]),
	}
	for k, c := range g.contestants {
		c.key, c.answers = "ask", out[k]
	}
	return g
}

var titles = map[string]string{"default": "default text", "custom29": "text of 29 fields", "parquet": "Parquet of 29 columns"}

func (b *bench) aggregation(format string) *group {
	g := &group{name: "aggregate-" + format, title: "All records by interface, five-tuple and action, " + titles[format], logs: []log{dayLogs[format]}}
	g.contestants = []*contestant{b.duck("aggregate", format, ""), b.ours("aggregate", format)}
	for _, c := range g.contestants {
		c.key = "aggregate"
	}
	return g
}

// analysis compares unlike things: DuckDB answers the three questions and
// aggregates, and knows nothing of sessions, translations and causes.
func (b *bench) analysis() *group {
	g := &group{name: "analyze", title: "Whole analysis, against DuckDB's questions and aggregation, default text", logs: []log{dayLogs["default"]}}
	duck := b.duck("all", "default", b.answers("all-duck"))
	duck.name = "DuckDB, both from one table"
	g.contestants = []*contestant{duck, b.analyze("ephemera analyze", "default", b.logs("default"), threads)}
	return g
}

// limits is what reading costs at least. Its files are added when they are
// there.
func (b *bench) limits() *group {
	g := &group{name: "limits", title: "Decompressing alone, and decoding alone, default text", logs: []log{dayLogs["default"]}}
	add := func(c *contestant) { g.contestants = append(g.contestants, c) }
	for _, tool := range []string{"igzip", "pigz"} {
		if path, err := exec.LookPath(tool); err == nil {
			add(&contestant{name: tool + " -d", path: path, args: []string{"-d", "-c", filesOf}})
		}
	}
	for _, library := range []string{"klauspost", "standard"} {
		add(&contestant{name: "gzip of Go, " + library, path: b.program("gunzip"), key: "bytes", env: oursEnv,
			args: []string{"--library", library, "--jobs", threads, filesOf}})
	}
	add(b.ours("decode", "default"))
	return g
}

// filesOf stands for the files of the default log.
const filesOf = "{files}"

func (b *bench) scaling() *group {
	g := &group{name: "scaling", title: "Whole analysis with one processor and two, default text", logs: []log{dayLogs["default"]}}
	for _, jobs := range []string{"1", "2"} {
		c := b.analyze("ephemera analyze --jobs "+jobs, "default", b.logs("default"), jobs)
		c.key = "analyze"
		g.contestants = append(g.contestants, c)
	}
	return g
}

// history analyses seven days, and the first of them.
func (b *bench) history() *group {
	week := b.logs(weekLog.name)
	day := filepath.Join(week, "123456789012", "vpcflowlogs", "us-east-1", "2026", "11", "22")
	return &group{name: "history", title: "Seven days against the first of them, a fifth of the rate, default text", logs: []log{weekLog},
		contestants: []*contestant{
			b.analyze("seven days", weekLog.name, week, threads),
			b.analyze("one day", weekLog.name, day, threads),
		}}
}

// writeLogs writes the logs that are not there yet.
func (b *bench) writeLogs(ctx context.Context, groups []*group) error {
	for _, g := range groups {
		for _, l := range g.logs {
			if err := b.writeLog(ctx, l); err != nil {
				return fmt.Errorf("log %s: %w", l.name, err)
			}
		}
	}
	return nil
}

func (b *bench) writeLog(ctx context.Context, l log) error {
	dir := b.dir(l.name)
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	records := b.records / l.share * l.minutes / (24 * 60)
	b.say("writing %d records to %s; once\n", records, dir)
	unfinished := dir + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, b.program("generate"), "-records", fmt.Sprint(records),
		"-duration", fmt.Sprintf("%dm", l.minutes), "-format", l.format, unfinished)
	cmd.Stdout, cmd.Stderr = b.progress, b.progress
	if err := cmd.Run(); err != nil {
		return err
	}
	return os.Rename(unfinished, dir)
}

// complete puts files where arguments stand for them.
func (b *bench) complete(groups []*group) error {
	for _, g := range groups {
		for _, c := range g.contestants {
			k := slices.Index(c.args, filesOf)
			if k < 0 {
				continue
			}
			files, err := filepath.Glob(filepath.Join(b.logs("default"), "*", "*", "*", "*", "*", "*", "*.log.gz"))
			if err == nil && len(files) == 0 {
				err = errors.New("no objects in " + b.logs("default"))
			}
			if err != nil {
				return err
			}
			c.args = slices.Replace(c.args, k, k+1, files...)
		}
	}
	return nil
}
