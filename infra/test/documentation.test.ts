/** The interfaces of the constructs are documented: what a member is, and what its absence means. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const LIB = join(import.meta.dirname, '../lib');

function interfaces(fileName: string, text: string): ts.InterfaceDeclaration[] {
  const file = ts.createSourceFile(fileName, text, ts.ScriptTarget.ES2022, true);
  return file.statements.filter(ts.isInterfaceDeclaration);
}

/** What is missing in an interface; each member of `Settings` has a default, although none is optional. */
function findings(declaration: ts.InterfaceDeclaration): string[] {
  const name = declaration.name.text;
  return declaration.members.flatMap((member) => {
    const path = `${name}.${member.name?.getText()}`;
    const comment = ts
      .getJSDocCommentsAndTags(member)
      .filter(ts.isJSDoc)
      .map((it) => ts.getTextOfJSDocComment(it.comment) ?? '')
      .join('');
    const isReadonly = ts.canHaveModifiers(member) && ts.getModifiers(member)?.some(isReadonlyKeyword);
    const hasDefault = ts.getJSDocTags(member).some((tag) => tag.tagName.text === 'default' && tag.comment);
    const needsDefault = member.questionToken !== undefined || name === 'Settings';
    return [
      ...(comment.trim() === '' ? [`${path} has no doc comment`] : []),
      ...(isReadonly ? [] : [`${path} is not readonly`]),
      ...(needsDefault && !hasDefault ? [`${path} has no @default`] : []),
    ];
  });
}

function isReadonlyKeyword({ kind }: ts.Modifier): boolean {
  return kind === ts.SyntaxKind.ReadonlyKeyword;
}

const declared = readdirSync(LIB)
  .filter((file) => file.endsWith('.ts'))
  .flatMap((file) => interfaces(file, readFileSync(join(LIB, file), 'utf8')));

test('every interface of the constructs is examined', () => {
  const names = declared.map(({ name }) => name.text);
  expect(names.filter((name) => name.endsWith('Props')).length).toBeGreaterThanOrEqual(15);
  expect(names).toContain('Settings');
});

test('every member is readonly and has a doc comment, and an optional one has its default', () => {
  expect(declared.flatMap(findings)).toEqual([]);
});

describe('what is missing is found', () => {
  test.each([
    ['/** In seconds. */ readonly age: number;', []],
    ['/**\n * In seconds.\n * @default 60\n */\nreadonly age?: number;', []],
    ['readonly age: number;', ['Props.age has no doc comment']],
    ['/** @default 60 */ readonly age?: number;', ['Props.age has no doc comment']],
    ['/** In seconds. */ readonly age?: number;', ['Props.age has no @default']],
    ['/** In seconds. @default */ readonly age?: number;', ['Props.age has no @default']],
    ['/** In seconds. */ age: number;', ['Props.age is not readonly']],
  ])('%s', (member, expected) => {
    expect(interfaces('props.ts', `interface Props {\n${member}\n}`).flatMap(findings)).toEqual(expected);
  });
});
