import { pipeline } from '../../lib/pipeline/index.ts';
import { AT_A_TIME, authenticate, parse, refuse, render, respond, search } from './work.ts';
import type { Exchange, Site } from './work.ts';

export function openKcontSite(): Site {
  const site = pipeline<Exchange>('site')
    .stage('parse', parse, { wq: 'softnet' })
    .keyBy(function user(query) {
      return query.user;
    })
    .stage('authenticate', authenticate, { wq: 'prihigh', limit: AT_A_TIME })
    .stage('query', search, { wq: 'prihigh', limit: AT_A_TIME })
    .stage('render', render, { wq: 'primedlow' })
    .stage('respond', respond, { wq: 'softnet' })
    .start({
      deadlineMs: 5000,
      onError: (error, { input }) => refuse(input, error),
    });
  return {
    accept: (exchange) => void site.push(exchange, undefined, { urgent: exchange.operator }),
    close: async () => void (await site.close()),
    draw: () => site.toString(),
  };
}
