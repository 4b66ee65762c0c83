/** The public API of the package: the stack, the app that assembles it, and what describes a domain. */
export type { MillraceAlarmProps, MillraceAlarms } from './alarms.ts';
export { makeApp } from './app.ts';
export type { Domain, DomainOutput, LakeColumn, LakeColumns } from './domain.ts';
export { MillraceStack, type MillraceStackProps } from './millrace-stack.ts';
export { type Lookup, readSettings, SettingError, type Settings } from './settings.ts';
