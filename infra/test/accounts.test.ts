import { expect, test } from 'vitest';
import { accounts } from '../domain/accounts.ts';

const read = (given: Record<string, unknown>) => accounts((name) => given[name]);

test('accounts are opened in euros unless a setting says otherwise', () => {
  expect(read({}).environment).toEqual({ DEFAULT_CURRENCY: 'EUR' });
  const { environment, outputs } = read({ defaultCurrency: 'CHF' });
  expect(environment).toEqual({ DEFAULT_CURRENCY: 'CHF' });
  expect(outputs.DefaultCurrency!.value).toBe('CHF');
});

test.each<[string, unknown, RegExp]>([
  ['in small letters', 'eur', /"defaultCurrency" is "eur"/],
  ['that ISO 4217 does not list', 'EUX', /"defaultCurrency" is "EUX"; .*ISO 4217/],
  ['that is no string', 978, /"defaultCurrency" is 978/],
])('a currency %s is named with what is allowed', (_, defaultCurrency, message) => {
  expect(() => read({ defaultCurrency })).toThrow(message);
});
