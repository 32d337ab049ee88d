package deployed

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
)

// client is the calls of an *ec2.Client. It is a type of its own, and has
// functions in the place of the client, since the linker keeps all methods
// of a type that reflection can reach: every one of EC2's some 800 calls,
// 37 MB of program, in the place of nine.
type client struct {
	describeNetworkAcls         call[ec2.DescribeNetworkAclsInput, ec2.DescribeNetworkAclsOutput]
	describeSecurityGroups      call[ec2.DescribeSecurityGroupsInput, ec2.DescribeSecurityGroupsOutput]
	describeNetworkInterfaces   call[ec2.DescribeNetworkInterfacesInput, ec2.DescribeNetworkInterfacesOutput]
	describeSubnets             call[ec2.DescribeSubnetsInput, ec2.DescribeSubnetsOutput]
	describeNatGateways         call[ec2.DescribeNatGatewaysInput, ec2.DescribeNatGatewaysOutput]
	describeRouteTables         call[ec2.DescribeRouteTablesInput, ec2.DescribeRouteTablesOutput]
	describeFlowLogs            call[ec2.DescribeFlowLogsInput, ec2.DescribeFlowLogsOutput]
	describeManagedPrefixLists  call[ec2.DescribeManagedPrefixListsInput, ec2.DescribeManagedPrefixListsOutput]
	getManagedPrefixListEntries call[ec2.GetManagedPrefixListEntriesInput, ec2.GetManagedPrefixListEntriesOutput]
}

type call[In, Out any] func(context.Context, *In, ...func(*ec2.Options)) (*Out, error)

// New returns the EC2 of a configuration, with its region, endpoint and
// credentials.
func New(cfg aws.Config) API {
	c := ec2.NewFromConfig(cfg)
	return &client{
		describeNetworkAcls:         c.DescribeNetworkAcls,
		describeSecurityGroups:      c.DescribeSecurityGroups,
		describeNetworkInterfaces:   c.DescribeNetworkInterfaces,
		describeSubnets:             c.DescribeSubnets,
		describeNatGateways:         c.DescribeNatGateways,
		describeRouteTables:         c.DescribeRouteTables,
		describeFlowLogs:            c.DescribeFlowLogs,
		describeManagedPrefixLists:  c.DescribeManagedPrefixLists,
		getManagedPrefixListEntries: c.GetManagedPrefixListEntries,
	}
}

func (c *client) DescribeNetworkAcls(ctx context.Context, in *ec2.DescribeNetworkAclsInput, o ...func(*ec2.Options)) (*ec2.DescribeNetworkAclsOutput, error) {
	return c.describeNetworkAcls(ctx, in, o...)
}

func (c *client) DescribeSecurityGroups(ctx context.Context, in *ec2.DescribeSecurityGroupsInput, o ...func(*ec2.Options)) (*ec2.DescribeSecurityGroupsOutput, error) {
	return c.describeSecurityGroups(ctx, in, o...)
}

func (c *client) DescribeNetworkInterfaces(ctx context.Context, in *ec2.DescribeNetworkInterfacesInput, o ...func(*ec2.Options)) (*ec2.DescribeNetworkInterfacesOutput, error) {
	return c.describeNetworkInterfaces(ctx, in, o...)
}

func (c *client) DescribeSubnets(ctx context.Context, in *ec2.DescribeSubnetsInput, o ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error) {
	return c.describeSubnets(ctx, in, o...)
}

func (c *client) DescribeNatGateways(ctx context.Context, in *ec2.DescribeNatGatewaysInput, o ...func(*ec2.Options)) (*ec2.DescribeNatGatewaysOutput, error) {
	return c.describeNatGateways(ctx, in, o...)
}

func (c *client) DescribeRouteTables(ctx context.Context, in *ec2.DescribeRouteTablesInput, o ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error) {
	return c.describeRouteTables(ctx, in, o...)
}

func (c *client) DescribeFlowLogs(ctx context.Context, in *ec2.DescribeFlowLogsInput, o ...func(*ec2.Options)) (*ec2.DescribeFlowLogsOutput, error) {
	return c.describeFlowLogs(ctx, in, o...)
}

func (c *client) DescribeManagedPrefixLists(ctx context.Context, in *ec2.DescribeManagedPrefixListsInput, o ...func(*ec2.Options)) (*ec2.DescribeManagedPrefixListsOutput, error) {
	return c.describeManagedPrefixLists(ctx, in, o...)
}

func (c *client) GetManagedPrefixListEntries(ctx context.Context, in *ec2.GetManagedPrefixListEntriesInput, o ...func(*ec2.Options)) (*ec2.GetManagedPrefixListEntriesOutput, error) {
	return c.getManagedPrefixListEntries(ctx, in, o...)
}
