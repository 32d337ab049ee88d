package bucket

import (
	"strconv"
	"strings"
	"time"

	"ephemera/ingest"
)

// level is what a folder of an AWSLogs tree holds:
//
//	AWSLogs/123456789012/vpcflowlogs/us-east-1/2026/11/22/16/
//	AWSLogs/aws-account-id=123456789012/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/month=11/day=22/hour=16/
//
// Source: VPC User Guide, "Publish flow logs to Amazon S3", flow log files.
type level int

const (
	accounts level = iota // AWSLogs/
	services
	regions
	years // us-east-1/: a series
	months
	days
	hours // 22/: hours, or objects
	objects
)

// treeRoot is the name of the folder that begins a tree.
const treeRoot = "AWSLogs"

const flowLogService = "vpcflowlogs"

// folder is a folder of a tree, or the beginning of the names in one.
type folder struct {
	prefix string
	level  level
	span   span // from months on
}

// span is the time that a folder is for: from start until before end.
type span struct{ start, end time.Time }

// inTree finds the place of a folder in the tree that it is in. It reports
// false for folders outside trees, and for those that a tree does not have.
func inTree(prefix string) (folder, bool) {
	names := strings.Split(strings.TrimSuffix(prefix, "/"), "/")
	for i := len(names) - 1; i >= 0; i-- {
		if names[i] == treeRoot {
			f, rest := (folder{level: accounts}).descend(names[i+1:])
			f.prefix = prefix
			return f, len(rest) == 0
		}
	}
	return folder{}, false
}

// descend goes down by names, as far as they belong to a tree. It returns
// those that do not.
func (f folder) descend(names []string) (folder, []string) {
	for i, name := range names {
		next, ok := f.child(name)
		if !ok {
			return f, names[i:]
		}
		f = next
	}
	return f, nil
}

// child goes down by one name.
func (f folder) child(name string) (folder, bool) {
	c := folder{prefix: f.prefix + name + "/", level: f.level + 1, span: f.span}
	start := f.span.start
	var ok bool
	switch f.level {
	case accounts:
		if strings.HasPrefix(name, "o-") {
			c.level = accounts // an organization, with accounts of its own
		}
		ok = name != ""
	case services:
		ok = strings.TrimPrefix(name, "aws-service=") == flowLogService
	case regions:
		ok = name != ""
	case years:
		var year int
		year, ok = number(name, "year=", 4)
		ok = ok && year >= 1970 && year < 2200
		start = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		c.span = span{start, start.AddDate(1, 0, 0)}
	case months:
		var month int
		month, ok = number(name, "month=", 2)
		start = start.AddDate(0, month-1, 0)
		c.span = span{start, start.AddDate(0, 1, 0)}
	case days:
		var day int
		day, ok = number(name, "day=", 2)
		start = start.AddDate(0, 0, day-1)
		c.span = span{start, start.AddDate(0, 0, 1)}
	case hours:
		var hour int
		hour, ok = number(name, "hour=", 2)
		start = start.Add(time.Duration(hour) * time.Hour)
		c.span = span{start, start.Add(time.Hour)}
	}
	inside := f.level <= years || !c.span.start.Before(f.span.start) && !c.span.end.After(f.span.end)
	return c, ok && inside
}

// number reads a name of so many digits, that may have its meaning in front.
func number(name, meaning string, digits int) (int, bool) {
	name = strings.TrimPrefix(name, meaning)
	n, err := strconv.ParseUint(name, 10, 16)
	return int(n), err == nil && len(name) == digits
}

// seriesOf names the series that a folder from years on belongs to: the
// folder of its region, and how the folders below are named, since plain and
// Hive folders beside each other are for the same days.
func seriesOf(prefix string) string {
	names := strings.Split(prefix[strings.LastIndex("/"+prefix, "/"+treeRoot+"/"):], "/")
	region := 3
	for strings.HasPrefix(names[region-2], "o-") {
		region++
	}
	before := prefix[:len(prefix)-len(strings.Join(names, "/"))]
	key := before + strings.Join(names[:region+1], "/") + "/"
	if len(names) > region+1 && strings.HasPrefix(names[region+1], "year=") {
		key += "year="
	}
	return key
}

// foreignService is the service that wrote a key below AWSLogs when that is
// not the one of flow logs, or "".
func foreignService(key string) string {
	names := strings.Split(key, "/")
	for i, name := range names[:len(names)-1] {
		if name != treeRoot {
			continue
		}
		f, rest := (folder{level: accounts}).descend(names[i+1 : len(names)-1])
		if f.level == services && len(rest) > 0 {
			return strings.TrimPrefix(rest[0], "aws-service=")
		}
	}
	return ""
}

// dated finds the time that a folder outside trees is for, by the names that
// Security Lake, Firehose and Hive give. It reports whether the folder is for
// a day, or less.
func dated(prefix string) (s span, day bool) {
	names := strings.Split(strings.TrimSuffix(prefix, "/"), "/")
	for i, name := range names {
		if date, ok := strings.CutPrefix(name, "eventDay="); ok {
			if start, err := time.Parse("20060102", date); err == nil {
				return span{start, start.AddDate(0, 0, 1)}, true
			}
		}
		if f, _ := (folder{level: years}).descend(names[i:]); f.level > years {
			return f.span, f.level >= hours
		}
	}
	return span{}, false
}

// window is the time to read.
type window struct{ from, to time.Time }

func (w window) isOpen() bool { return w.from.IsZero() && w.to.IsZero() }

func (w window) String() string {
	if w.to.IsZero() {
		return "after " + w.from.UTC().Format(time.RFC3339)
	}
	if w.from.IsZero() {
		return "before " + w.to.UTC().Format(time.RFC3339)
	}
	return "between " + w.from.UTC().Format(time.RFC3339) + " and " + w.to.UTC().Format(time.RFC3339)
}

// overlaps reports whether objects that AWS names with a time in s can hold
// records inside the window.
func (w window) overlaps(s span) bool {
	first, last := ingest.ObjectName{Time: s.start}, ingest.ObjectName{Time: s.end.Add(-time.Second)}
	return first.MayHold(time.Time{}, w.to) && last.MayHold(w.from, time.Time{})
}

// covers reports whether all objects that AWS names with a time in s can.
func (w window) covers(s span) bool {
	first, last := ingest.ObjectName{Time: s.start}, ingest.ObjectName{Time: s.end.Add(-time.Second)}
	return first.MayHold(w.from, time.Time{}) && last.MayHold(time.Time{}, w.to)
}

// dateMargin is how far records may lie outside the date of their folder
// where AWS's flow logs did not write it: Firehose goes by the time of
// arrival and tries for a day to deliver, and other folders can go by local
// time.
const dateMargin = 24 * time.Hour

// overlapsRoughly is overlaps for folders outside trees.
func (w window) overlapsRoughly(s span) bool {
	return (w.from.IsZero() || !s.end.Add(dateMargin).Before(w.from)) &&
		(w.to.IsZero() || !s.start.Add(-dateMargin).After(w.to))
}

// hours is how many hours of the span can hold records, until now.
func (w window) hours(s span, now time.Time) int64 {
	if !w.from.IsZero() && w.from.After(s.start) {
		s.start = w.from
	}
	if !w.to.IsZero() && w.to.Before(s.end) {
		s.end = w.to
	}
	if now.Before(s.end) {
		s.end = now
	}
	return max(1, int64(s.end.Sub(s.start)/time.Hour))
}
