package event

import "fmt"

// readSchedule reads a Scheduled Event of EventBridge, or the payload
// {"ephemera":"report","time":"..."}, which EventBridge Scheduler fills in from
// <aws.scheduler.scheduled-time>. The time is the scheduled one, so that an
// invocation that is tried again makes the same report.
func readSchedule(env envelope) (Event, error) {
	if env.fields.has("ephemera") {
		task, err := env.fields.text("ephemera")
		if err != nil {
			return Event{}, err
		}
		if task != "report" {
			return Event{}, fmt.Errorf(`ephemera is %q; the one task is "report"`, cut(task, 40))
		}
	}
	text, err := env.fields.text("time")
	if err != nil {
		return Event{}, fmt.Errorf("%w; it is to be the scheduled time, like 2026-11-22T10:15:00Z", err)
	}
	t, err := readTime(text)
	if err != nil {
		return Event{}, fmt.Errorf("time: %w", err)
	}
	if t.IsZero() {
		return Event{}, fmt.Errorf("time: it is empty; it is to be the scheduled time")
	}
	return Event{Kind: KindSchedule, Report: t}, nil
}
