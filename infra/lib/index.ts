/**
 * The public API of the package: the stack, the app that assembles it, what describes a domain, and what the stacks of
 * subscribers need.
 */
export type { MillraceAlarmProps, MillraceAlarms } from './alarms.ts';
export { makeApp } from './app.ts';
export type { Domain, DomainOutput, LakeColumn, LakeColumns } from './domain.ts';
export { type DomainStreamAttributes, DomainStreamReference } from './domain-stream-reference.ts';
export { MillraceStack, type MillraceStackProps } from './millrace-stack.ts';
export { PositionTable, type PositionTableProps } from './position-table.ts';
export { type Lookup, readSettings, SettingError, type Settings } from './settings.ts';
export { StartingPosition } from './starting-position.ts';
export { Subscriber, type SubscriberProps } from './subscriber.ts';
