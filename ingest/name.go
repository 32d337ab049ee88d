package ingest

import (
	"path"
	"path/filepath"
	"strings"
	"time"
)

// ObjectName is what AWS says in the name of a flow log file:
//
//	123456789012_vpcflowlogs_us-east-1_fl-0a1_20261122T1620Z_5d416faf.log.gz
//
// The folders around it come in several layouts (plain, hourly, Hive) and
// say nothing more.
// Source: VPC User Guide, "Publish flow logs to Amazon S3", flow log files.
type ObjectName struct {
	FlowLogID string // "fl-0a1"
	// Time is when the object begins: it holds records that end in the five
	// minutes from it.
	Time time.Time
}

// ParseName reads the last element of place. It reports false for names of
// any other form.
func ParseName(place string) (ObjectName, bool) {
	parts := strings.Split(path.Base(filepath.ToSlash(place)), "_")
	if len(parts) < 6 || parts[1] != "vpcflowlogs" || !strings.HasPrefix(parts[3], "fl-") {
		return ObjectName{}, false
	}
	key, err := time.Parse("20060102T1504Z", parts[4])
	if err != nil {
		return ObjectName{}, false
	}
	return ObjectName{parts[3], key}, true
}

// flowLogID returns the flow log that the name of place tells, or "".
func flowLogID(place string) string {
	n, _ := ParseName(place)
	return n.FlowLogID
}

// KeyMargin is how far records may lie outside the time of their object's
// name: delivery is best effort, and record times are up to a minute late.
const KeyMargin = 30 * time.Minute

// keyPeriod is how long the time is that an object covers.
const keyPeriod = 5 * time.Minute

// MayHold reports whether the object can hold records that end at or after
// from and start before to; zero times leave the window open.
func (n ObjectName) MayHold(from, to time.Time) bool {
	if !from.IsZero() && n.Time.Add(keyPeriod+KeyMargin).Before(from) {
		return false
	}
	return to.IsZero() || !n.Time.After(to.Add(KeyMargin))
}
