package loggroup

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
)

// client is the CloudWatch Logs client's methods that are called, one by one.
// A *cloudwatchlogs.Client that is given to an interface brings all its
// hundred calls into a program that looks methods up by name, as templates
// do.
type client struct {
	filterLogEvents    call[cloudwatchlogs.FilterLogEventsInput, cloudwatchlogs.FilterLogEventsOutput]
	describeLogGroups  call[cloudwatchlogs.DescribeLogGroupsInput, cloudwatchlogs.DescribeLogGroupsOutput]
	describeLogStreams call[cloudwatchlogs.DescribeLogStreamsInput, cloudwatchlogs.DescribeLogStreamsOutput]
}

type call[In, Out any] func(context.Context, *In, ...func(*cloudwatchlogs.Options)) (*Out, error)

// New returns the CloudWatch Logs of a configuration, with its region,
// endpoint and credentials.
func New(cfg aws.Config) API { return newClient(cloudwatchlogs.NewFromConfig(cfg)) }

func newClient(c *cloudwatchlogs.Client) API {
	return &client{c.FilterLogEvents, c.DescribeLogGroups, c.DescribeLogStreams}
}

// FilterLogEvents implements API.
func (c *client) FilterLogEvents(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, o ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	return c.filterLogEvents(ctx, in, o...)
}

// DescribeLogGroups implements API.
func (c *client) DescribeLogGroups(ctx context.Context, in *cloudwatchlogs.DescribeLogGroupsInput, o ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogGroupsOutput, error) {
	return c.describeLogGroups(ctx, in, o...)
}

// DescribeLogStreams implements API.
func (c *client) DescribeLogStreams(ctx context.Context, in *cloudwatchlogs.DescribeLogStreamsInput, o ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.DescribeLogStreamsOutput, error) {
	return c.describeLogStreams(ctx, in, o...)
}
